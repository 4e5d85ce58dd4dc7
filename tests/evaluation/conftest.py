"""A data set of two hand-drawn images, registered from COCO files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data import register_weak_dataset
from bestie_d2.data.datasets import weak

CATEGORY_IDS = {"0": 3, "1": 7}  # of the digits drawn below: the file's ids have gaps
NAMES = ["cat", "dog"]

# Digits are an object's class; letters x and y two more objects of class 0.
TRUTH = {"a": ["00..xx", "00..xx", "......", "1111.."], "b": ["..yy", "..yy", "....", "1..."]}
# WSSS indices (class + 1): in a both cats are found, a dog is cut in two, b has a bridge.
WEAK = {"a": ["11..11", "11..11", "......", "22.2.."], "b": ["..11", "..11", "....", "...."]}


def picture(rows: list[str], letters: str) -> np.ndarray:
    """(H, W) bool where the drawing has one of the letters."""
    return np.array([[letter in letters for letter in row] for row in rows])


def rle(mask: np.ndarray) -> dict:
    encoded = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def coco_file() -> dict:
    images, annotations = [], []
    for image_id, (stem, rows) in enumerate(TRUTH.items(), start=1):
        size = {"height": len(rows), "width": len(rows[0])}
        images.append({"id": image_id, "file_name": f"{stem}.png", **size})
        for letter in sorted(set("".join(rows)) - {"."}):
            segmentation = rle(picture(rows, letter))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORY_IDS.get(letter, CATEGORY_IDS["0"]),
                    "segmentation": segmentation,
                    "bbox": mask_api.toBbox(segmentation).tolist(),
                    "area": int(mask_api.area(segmentation)),
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": category_id, "name": name}
        for category_id, name in zip(CATEGORY_IDS.values(), NAMES, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Registers the data set, with changes to its truth or its registration, and names it."""
    name = request.node.nodeid

    def register(truth: dict | None = None, **arguments: str | None) -> str:
        (tmp_path / "truth.json").write_text(json.dumps(truth or coco_file()))
        (tmp_path / "maps").mkdir(exist_ok=True)
        for stem, rows in WEAK.items():
            indices = picture(rows, "1") + 2 * picture(rows, "2")
            Image.fromarray(indices.astype(np.uint8)).save(tmp_path / "maps" / f"{stem}.png")
        defaults = {
            "images": str(tmp_path),
            "annotations": str(tmp_path / "truth.json"),
            "weak_maps": str(tmp_path / "maps"),
        }
        register_weak_dataset(name, **{**defaults, **arguments})
        return name

    yield register
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog:
            catalog.remove(name)
    weak._registered.pop(name, None)


@pytest.fixture
def drawn_truth() -> dict:
    """The content of the truth file, to be changed and given to ``scene``."""
    return coco_file()
