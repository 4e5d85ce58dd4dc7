"""The true objects of an image as one map of their numbers, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask as mask_api

from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, wsss_index


@dataclass(frozen=True)
class ObjectMap:
    """Objects that do not overlap: (H, W) uint8 of an object's number on its pixels, 0 where there
    is none, 255 (void) where nobody says; and the contiguous class of each number that occurs."""

    numbers: np.ndarray
    classes: Mapping[int, int]

    def masks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Class and (H, W) bool mask of each object, by its number; void pixels belong to none."""
        for number in sorted(self.classes):
            yield self.classes[number], self.numbers == number

    def annotations(self) -> list[dict]:
        """An annotation of each object in Detectron2's format, masks as RLE with string counts."""
        found = []
        for class_id, mask in self.masks():
            rle = encode(mask)
            x, y, width, height = map(int, mask_api.toBbox(rle))
            box = {"bbox": [x, y, x + width, y + height], "bbox_mode": BoxMode.XYXY_ABS}
            found.append({**box, "category_id": class_id, "segmentation": rle, "iscrowd": 0})
        return found

    def void(self) -> dict | None:
        """The void pixels as RLE; None if there are none."""
        mask = self.numbers == IGNORE_INDEX
        return encode(mask) if mask.any() else None

    def points(self) -> list[tuple[int, int, int]]:
        """``x, y, class`` of one pixel of each object: :func:`inner_point`."""
        return [(*inner_point(mask), class_id) for class_id, mask in self.masks()]

    def semantic(self) -> np.ndarray:
        """(H, W) uint8 WSSS indices."""
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
        table[BACKGROUND_INDEX] = BACKGROUND_INDEX
        for number, class_id in self.classes.items():
            table[number] = wsss_index(class_id)
        return table[self.numbers]


def inner_point(mask: np.ndarray) -> tuple[int, int]:
    """The pixel ``(x, y)`` of a (H, W) bool mask, not empty, that is nearest to its centroid.

    The centroid itself may lie outside: in a ring, or between the arms of an L. Of several that
    are equally near it is the first in reading order.
    """
    ys, xs = mask.nonzero()
    nearest = ((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2).argmin()
    return int(xs[nearest]), int(ys[nearest])


def encode(mask: np.ndarray) -> dict:
    """A (H, W) bool mask as compressed RLE with string counts."""
    rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def coco_categories(classes: Sequence[str]) -> list[dict]:
    """``categories`` of a COCO file: ids are contiguous classes + 1."""
    return [{"id": class_id + 1, "name": name} for class_id, name in enumerate(classes)]


def coco_annotation(number: int, image_id: int, class_id: int, mask: np.ndarray) -> dict:
    """An entry of ``annotations`` of a COCO file; ``number`` is its id there."""
    rle = encode(mask)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": class_id + 1,
        "segmentation": rle,
        "bbox": mask_api.toBbox(rle).tolist(),
        "area": int(mask_api.area(rle)),
        "iscrowd": 0,
    }
