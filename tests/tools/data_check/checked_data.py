"""Five small images with everything that a training reads, and how a report of it is read."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "tools" / "check_data.py"
# Cues (x, y, category id) by image id. The maps have one component of cat and one of dog each.
CUES = {1: [(5, 5, 3)], 11: [(5, 5, 3), (9, 9, 3), (30, 30, 7)], 41: [(5, 30, 7)], 31: []}
WEAK = {"tags": "tags.json", "weak_maps": "maps", "cues": "cues.json"}
BESTIE = {"MODEL.BESTIE.NUM_CLASSES": 2}
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]  # x, y
CROWD = (31, 7, {"size": [49, 46], "counts": [0, 49 * 46]})


def write_cues(folder: Path, cues: dict[int, list]) -> None:
    content = json.loads((folder / "tags.json").read_text())
    content["points"] = [
        {"image_id": image_id, "category_id": category_id, "point": [x, y], "score": 0.9}
        for image_id, points in cues.items()
        for x, y, category_id in points
    ]
    content["images"] = [image for image in content["images"] if image["id"] in cues]
    (folder / "cues.json").write_text(json.dumps(content))


def write_truth(folder: Path, *objects: tuple[int, int, object]) -> None:
    """Objects as image id, category id and mask; the last one is a crowd."""
    content = json.loads((folder / "tags.json").read_text())
    content["annotations"] = [
        {"id": number, "image_id": image_id, "category_id": category_id, "segmentation": mask}
        | {"bbox": [10, 10, 20, 20], "area": 400, "iscrowd": int(number == len(objects))}
        for number, (image_id, category_id, mask) in enumerate(objects, start=1)
    ]
    (folder / "truth.json").write_text(json.dumps(content))


def lines_under(printed: str, kind: str) -> list[str]:
    """The lines of a kind of problem or notice."""
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if re.fullmatch(rf"  (?:{kind}): \d+", line))
    end = start + 1
    while end < len(lines) and lines[end].startswith("    "):
        end += 1
    return [lines[start].strip(), *(line.strip() for line in lines[start + 1 : end])]
