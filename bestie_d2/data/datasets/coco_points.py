"""One point for each object of COCO, from the official masks: simulated point labels."""

from __future__ import annotations

import json
from pathlib import Path

from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from tqdm import tqdm

from bestie_d2.data.datasets.coco import instances_path, points_path, without_crowds
from bestie_d2.data.datasets.object_map import inner_point
from bestie_d2.data.datasets.object_masks import check_mask, check_object
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, load_json
from bestie_d2.errors import InputError
from bestie_d2.storage.files import staged

FIELDS = {
    **IMAGE_LISTS,
    "images": (*IMAGE_LISTS["images"], "height", "width"),
    "annotations": ("image_id", "category_id", "bbox", "segmentation"),
}


def write_coco_points(folder: str, split: str) -> str:
    """Write the point labels of a split, whole or not at all; a file that is there is replaced.

    Each object that is no crowd has one: the pixel of its mask nearest to the centroid.

    Args:
        folder: ``coco``.

    Returns:
        What was written, in one line.

    Raises:
        InputError: a missing or unreadable annotation file, an object of an unknown image or with
            a mask that is none of it, or the points cannot be written.
    """
    source, output = instances_path(folder, split), Path(points_path(folder, split))
    data = load_json(source, FIELDS)
    masks = COCO()
    masks.imgs = {image["id"]: image for image in data["images"]}
    objects = without_crowds(data["annotations"])
    points = []
    for entry in tqdm(objects, desc=split, unit="object"):
        if entry["image_id"] not in masks.imgs:
            raise InputError(f"{source}: image id {entry['image_id']} is not in 'images'")
        _check_entry(source, entry, masks.imgs[entry["image_id"]])
        ids = {key: entry[key] for key in ("image_id", "category_id")}
        points.append({**ids, "point": _point_of(masks, entry)})
    content = {
        "images": _only(data["images"], FIELDS["images"]),
        "categories": _only(data["categories"], FIELDS["categories"]),
        "points": points,
    }
    with staged(output.parent) as scratch:
        (scratch / output.name).write_text(json.dumps(content), encoding="ascii")
    crowds = len(data["annotations"]) - len(objects)
    return f"{output}: {len(points)} points, without {crowds} crowd regions"


def _check_entry(source: str, entry: dict, image: dict) -> None:
    where = f"{source}: an object of {image['file_name']}"
    check_object(where, entry)
    check_mask(where, entry["segmentation"], (image["height"], image["width"]))


def _point_of(masks: COCO, entry: dict) -> tuple[int, int]:
    """``x, y`` in the object; the middle of its box where its outline covers no pixel's center."""
    rle = masks.annToRLE(entry)
    left, top, width, height = (round(value) for value in mask_api.toBbox(rle).tolist())
    if width == 0 or height == 0:
        x, y, w, h = entry["bbox"]
        rows, columns = rle["size"]
        return min(max(int(x + w / 2), 0), columns - 1), min(max(int(y + h / 2), 0), rows - 1)
    mask = mask_api.decode(rle)[top : top + height, left : left + width]
    x, y = inner_point(mask)
    return left + x, top + y


def _only(entries: list[dict], keys: tuple[str, ...]) -> list[dict]:
    return [{key: entry[key] for key in keys} for entry in entries]
