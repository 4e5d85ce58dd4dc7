"""Instances to learn from that were labeled beforehand, such as those that BESTIE exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from detectron2.data import transforms as T
from pycocotools import mask as mask_api

from bestie_d2.data.datasets.object_masks import check_mask, is_number
from bestie_d2.data.images import Size
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, category_indices, load_json, unknown_id
from bestie_d2.data.names import label_name, match_label_names, names_of_records
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

LABEL_LISTS = {**IMAGE_LISTS, "annotations": ("image_id", "category_id", "segmentation")}
BYTE_INSTANCES = IGNORE_INDEX - 1  # that a map of bytes can hold: 0 is no instance, 255 padding
BYTE = 256
MAX_INSTANCES = BYTE * BYTE - 2  # of two bytes; 65535 is padding


@dataclass(frozen=True)
class InstanceLabels:
    """The instances of an image: the class ``0..C-1`` and the compressed RLE of each."""

    classes: list[int] = field(default_factory=list)
    rles: list[dict] = field(default_factory=list)

    def draw(self, size: Size) -> np.ndarray:
        """(H, W) map of the instances, 1 and on, uint8 or, if they are more than 254, uint16; a
        later one covers an earlier one."""
        dtype = np.uint8 if len(self.rles) <= BYTE_INSTANCES else np.uint16
        drawn = np.full(size, BACKGROUND_INDEX, dtype=dtype)
        for number, rle in enumerate(self.rles, start=1):
            drawn[mask_api.decode(rle).astype(bool)] = number
        return drawn


def move_instance_map(instance_map: np.ndarray, transforms: T.TransformList) -> np.ndarray:
    """An (H, W) map of instances moved with its image, as a weak map is; of the same type, padding
    in each byte. Transforms treat other types than bytes otherwise: two bytes are moved one by one.
    """
    if instance_map.dtype == np.uint8:
        return transforms.apply_segmentation(instance_map)
    high, low = (
        transforms.apply_segmentation(part.astype(np.uint8)).astype(np.uint16)
        for part in np.divmod(instance_map, BYTE)
    )
    return high * BYTE + low


def attach_instance_labels(records: list[dict], path: str, classes: Sequence[str]) -> list[dict]:
    """Copies of the records with ``instance_labels``, none for an image without an instance.

    Args:
        path: COCO JSON with compressed RLE masks; the better its ``score``, the later an instance
            is drawn, without one before all others. Images are matched by their label names.
        classes: names of the data set's classes, in contiguous order.
    """
    what = f"instance labels {path}"
    by_name = {label_name(record): record for record in records}
    data = load_json(path, LABEL_LISTS)
    contiguous = category_indices(path, data, classes)
    files = [image["file_name"] for image in data["images"]]
    matched = match_label_names(what, files, names_of_records(records))
    names = {image["id"]: name for image, name in zip(data["images"], matched, strict=True)}
    if not any(name in by_name for name in matched):
        raise InputError(f"{what}: none of the data set's images is in it")
    for number, entry in enumerate(data["annotations"]):
        problem = unknown_id(entry, names, contiguous)
        if not is_number(_score(entry)):
            problem = f"'score' is {_score(entry)!r}, expected a number"
        if problem:
            raise InputError(f"{what}: annotations[{number}]: {problem}")
    labels = {name: InstanceLabels() for name in by_name}
    for entry in sorted(data["annotations"], key=_score):
        name = names[entry["image_id"]]
        if name is None:
            continue  # an image of another data set
        record, mask = by_name[name], entry["segmentation"]
        if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
            raise InputError(
                f"{what}: a mask of image {entry['image_id']} is no compressed run-length encoding"
            )
        check_mask(f"{what}: {record['file_name']}", mask, (record["height"], record["width"]))
        labels[name].classes.append(contiguous[entry["category_id"]])
        labels[name].rles.append(mask)
    for name, found in labels.items():
        if len(found.rles) > MAX_INSTANCES:
            raise InputError(
                f"{what}: {by_name[name]['file_name']} has {len(found.rles)} of them, at most "
                f"{MAX_INSTANCES} in a picture can be told apart"
            )
    return [{**record, "instance_labels": labels[name]} for name, record in by_name.items()]


def _score(entry: Mapping) -> float:
    return entry.get("score", 0.0)
