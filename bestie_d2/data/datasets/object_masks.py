"""Masks of objects: as one map of their numbers, as RLE, and what is wrong with those of a file.

pycocotools reads past the end of an encoding that is too short, takes four numbers for a box, and
has no word for most other mistakes: what others wrote is looked at before it is given them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from reprlib import repr as shortened
from typing import Any, TypeGuard

import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask as mask_api

from bestie_d2.data.images import Size
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, wsss_index

SHORTEST_POLYGON = 6  # numbers: three corners
LONGEST_RUN = 2**32 - 1  # of pycocotools
FARTHEST = 1_000_000  # pixels; pycocotools walks along every outline, also outside the image
MORE, NEGATIVE, MOST_DIGITS = 32, 16, 7  # in the characters of a run; 7 digits are 32 bits


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

    def semantic(self) -> np.ndarray:
        """(H, W) uint8 WSSS indices."""
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
        table[BACKGROUND_INDEX] = BACKGROUND_INDEX
        for number, class_id in self.classes.items():
            table[number] = wsss_index(class_id)
        return table[self.numbers]


def inner_point(mask: np.ndarray) -> tuple[int, int]:
    """The pixel ``(x, y)`` of a (H, W) bool mask, not empty, that is nearest to its centroid, which
    may lie outside; of several the first in reading order."""
    ys, xs = mask.nonzero()
    nearest = ((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2).argmin()
    return int(xs[nearest]), int(ys[nearest])


def encode(mask: np.ndarray) -> dict:
    """A (H, W) bool mask as compressed RLE with string counts."""
    rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def to_rle(segmentation: dict | list, height: int, width: int) -> dict:
    """One compressed RLE from an RLE, or from polygons in (x, y) pixels."""
    if isinstance(segmentation, list):
        return mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return mask_api.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def coco_categories(classes: Sequence[str]) -> list[dict]:
    """``categories`` of a COCO file: ids are contiguous classes + 1."""
    return [{"id": class_id + 1, "name": name} for class_id, name in enumerate(classes)]


def coco_annotation(number: int, image_id: int, class_id: int, mask: np.ndarray) -> dict:
    """An entry of ``annotations`` of a COCO file; ``number`` is its id there."""
    rle = encode(mask)
    return {
        **{"id": number, "image_id": image_id, "category_id": class_id + 1, "segmentation": rle},
        **{"bbox": mask_api.toBbox(rle).tolist(), "area": int(mask_api.area(rle)), "iscrowd": 0},
    }


# -- what is wrong with them


def check_mask(where: str, mask: object, size: Size) -> None:
    """Refuse what :func:`problem_of_mask` has a word for; ``where`` names file and image."""
    problem = problem_of_mask(mask, size)
    if problem:
        raise InputError(f"{where}: {problem}")


def problem_of_mask(mask: object, size: Size) -> str | None:
    """Why a mask, polygons or RLE, is none in an image of (height, width); None if it is one."""
    if isinstance(mask, Mapping):
        problem = _problem_of_rle(mask)
        if not problem and tuple(mask["size"]) != tuple(size):
            problem = f"its mask is {mask['size']}, its image {list(size)} (height, width)"
        if not problem:
            runs = _runs(mask["counts"])
            if runs is None or (runs < 0).any() or runs.sum() != size[0] * size[1]:
                problem = "the counts of its RLE are not those of a mask of this size"
        return problem
    if not isinstance(mask, list) or not mask or not all(isinstance(part, list) for part in mask):
        return f"its mask is {shortened(mask)}, expected polygons or RLE"
    for part in mask:
        if len(part) % 2 or len(part) < SHORTEST_POLYGON:
            return f"a polygon of {len(part)} numbers, expected x, y of three corners or more"
        plain = {*map(type, part)} <= {int, float}  # nearly always, and this is quicker
        if not all(map(is_finite if plain else is_number, part)):
            return f"a polygon is {shortened(part)}, expected numbers"
        if max(map(abs, part)) > FARTHEST:
            return f"a polygon has a corner at {max(part, key=abs):g}, expected pixels"
    return None


def _problem_of_rle(mask: Mapping) -> str | None:
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, (list, tuple)) or [type(side) for side in size] != [int, int]:
        return f"its RLE has the 'size' {shortened(size)}, expected [height, width]"
    known = isinstance(counts, (str, bytes))
    if isinstance(counts, list):
        known = all(type(count) is int and 0 <= count <= LONGEST_RUN for count in counts)
    return None if known else f"its RLE has the 'counts' {shortened(counts)}, expected runs"


def is_box(box: object) -> TypeGuard[Sequence[float]]:
    """Whether it is four numbers."""
    return isinstance(box, (list, tuple)) and len(box) == 4 and all(map(is_number, box))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite one."""
    return isinstance(value, Real) and not isinstance(value, bool) and is_finite(value)


def is_finite(value: Any) -> bool:
    """Whether a number is one, and none of so many digits that no float holds it."""
    return abs(value) <= sys.float_info.max


def _runs(counts: str | bytes | list[int]) -> np.ndarray | None:
    """The lengths of the runs; None if compressed counts are torn or hold other characters.

    A character from "0" on is a digit of base 32, the last one of a number first. From the fourth
    number on, each is the difference to the second one before it.
    """
    if isinstance(counts, list):
        return np.array(counts, np.int64)
    text = counts.encode() if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - ord("0")
    if len(codes) == 0 or codes.min() < 0 or codes.max() >= 2 * MORE or codes[-1] & MORE:
        return None
    ends = np.flatnonzero(codes & MORE == 0)
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > MOST_DIGITS:
        return None
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes % MORE) << shifts, starts)
    runs -= np.where(codes[ends] & NEGATIVE, 1 << (5 * lengths), 0)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs
