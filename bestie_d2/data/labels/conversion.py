"""Exports of annotation tools, and tables of tags, written as this project's JSON."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from bestie_d2.data.images import Size
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import DIGITS, PATIENCE, POINTS
from bestie_d2.data.labels.annotation_tools.registry import Labels
from bestie_d2.data.labels.cue_files import read_cues
from bestie_d2.data.labels.label_files import load_labels
from bestie_d2.data.labels.tags import TaggedImages, tags_of_labels
from bestie_d2.data.names import without_suffix
from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder, write_json_lists
from bestie_d2.structures import PointCues

MOST_CLASSES = 20  # that are told with their counts


def convert_labels(
    path: str,
    *,
    images: str,
    output: str,
    wanted: str = "",
    kind: str = "",
    classes: Sequence[str] | None = None,
) -> list[str]:
    """Write an export as points or tags JSON, whole or not at all.

    Args:
        path: a file, an archive or a folder.
        images: the folder of the pictures.
        output: the JSON to write; one that is there is replaced.
        wanted: the name of the format; found out if empty.
        kind: ``POINTS`` or ``TAGS``; if empty, what there is, points if there are both.
        classes: all that there are, in order; else those of the export.

    Returns:
        Lines on what was read, what was left out and why, and what was written.

    Raises:
        InputError: what cannot be read or used, such as a point outside of its picture, or a
            picture that is none.
    """
    if os.path.exists(path) and os.path.exists(output) and os.path.samefile(path, output):
        raise InputError(f"--output {output}: is the export itself; name another file")
    if os.path.isdir(output) or not os.path.basename(output):
        raise InputError(f"--output {output}: is a folder; name a file in it, such as labels.json")
    pictures = Pictures.of_folder(images, "--images")
    kind, labels = load_labels(
        path, kind, pictures=lambda: pictures, classes=classes, wanted=wanted
    )
    tagged = tags_of_labels(path, labels, classes)
    told = list(tagged.remarks) if labels else [f"{path}: read as a table of tags", *tagged.remarks]
    matched = pictures.match([(record["file_name"],) for record in tagged.records])
    pairs = list(zip(tagged.records, matched, strict=True))
    kept = {picture: record for record, picture in pairs if picture}
    missing = [record["file_name"] for record, picture in pairs if not picture]
    if not kept or len(kept) + len(missing) < len(pairs):
        what = "two of its images are one picture" if kept else f"none of its {len(pairs)} images"
        raise InputError(f"{path}: {what} in {images}")
    if missing:
        told.append(
            f"left out: {len(missing)} images that are not in {images} (first {missing[0]})"
        )
    bar = tqdm(kept, desc="heads of pictures", unit="picture", delay=PATIENCE)
    sizes = {picture: pictures.size(picture) for picture in bar}
    points = _points(path, labels, kept, sizes, tagged.classes, told) if kind == POINTS else None
    members = _members(kept, sizes, tagged, points)
    make_folder(os.path.dirname(output) or os.curdir, "--output")
    write_json_lists(output, members)
    return [*told, *_summary(members, tagged.classes, len(pictures.paths)), f"written to {output}"]


def _points(
    path: str,
    labels: Labels | None,
    kept: Mapping[str, dict],
    sizes: Mapping[str, Size],
    classes: Sequence[str],
    told: list[str],
) -> dict[str, PointCues]:
    """The points of each picture, checked and brought in as a training has them."""
    names = {without_suffix(record["file_name"]): picture for picture, record in kept.items()}
    return read_cues(
        path, classes=classes, sizes=sizes, names=names, labels=labels, on_remark=told.append
    )


def _members(
    kept: Mapping[str, dict],
    sizes: Mapping[str, Size],
    tagged: TaggedImages,
    points: Mapping[str, PointCues] | None,
) -> dict[str, list[dict]]:
    members: dict[str, list[dict]] = {
        "images": [],
        "categories": [
            {"id": number, "name": name}
            for number, name in zip(tagged.category_ids, tagged.classes, strict=True)
        ],
    }
    entries = members["annotations" if points is None else "points"] = []
    for picture, record in kept.items():
        height, width = sizes[picture]
        image = {"id": record["image_id"], "file_name": picture, "height": height, "width": width}
        members["images"].append(image)
        places: list[tuple[int, dict]] = [(index, {}) for index in record["image_classes"]]
        if points is not None:
            yx, indices = points[picture].yx.tolist(), points[picture].classes.tolist()
            places = [
                (index, {"point": [round(x, DIGITS), round(y, DIGITS)]})
                for index, (y, x) in zip(indices, yx, strict=True)
            ]
        for index, place in places:
            ids = {"image_id": record["image_id"], "category_id": tagged.category_ids[index]}
            entries.append({**ids, **place})
    return members


def _summary(members: Mapping[str, list[dict]], classes: Sequence[str], pictures: int) -> list[str]:
    what = "points" if "points" in members else "tags"
    entries = members.get("points", members.get("annotations", []))
    names = {category["id"]: category["name"] for category in members["categories"]}
    counts = Counter(names[entry["category_id"]] for entry in entries)
    shown = ", ".join(f"{name} {counts[name]}" for name in classes[:MOST_CLASSES])
    images = len(members["images"])
    without = images - len({entry["image_id"] for entry in entries})
    lines = [f"{images} images, {len(entries)} {what} of {len(classes)} classes: {shown}"]
    lines[0] += ", ..." * (len(classes) > MOST_CLASSES)
    if without:
        lines.append(f"{without} of the images have no {what[:-1]}")
    if pictures > images:
        lines.append(f"{pictures - images} pictures of the folder are not in it and are left out")
    return lines
