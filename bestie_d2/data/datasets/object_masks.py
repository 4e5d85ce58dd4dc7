"""What is wrong with the objects of a COCO file, told before pycocotools is given them.

It reads past the end of an encoding that is too short, takes four numbers for a box, and has no
word for most other mistakes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from reprlib import repr as shortened
from typing import Any, TypeGuard

import numpy as np

from bestie_d2.data.images import Size
from bestie_d2.errors import InputError

SHORTEST_POLYGON = 6  # numbers: three corners
FARTHEST = 1_000_000  # pixels; it walks along every outline, also where that is outside the image
BOX_NUMBERS = 4  # left, top, width, height

# Compressed counts: a digit of base 32 a character, the last one of a number first.
FIRST_CHARACTER, CHARACTERS = 48, 64
DIGIT_BITS, DIGIT, MORE, NEGATIVE = 5, 31, 32, 16
MOST_DIGITS = 7  # of a run: 32 bits
FIRST_DIFFERENCE = 3  # from this number on, each is the difference to the second one before it


def check_object(where: str, entry: Mapping) -> None:
    """Refuse an entry of ``annotations`` whose box is no box, or whose mask is an RLE in no form;
    ``where`` names it."""
    box, mask = entry["bbox"], entry["segmentation"]
    problem = _problem_of_rle(mask) if isinstance(mask, Mapping) else None
    if not is_box(box):
        problem = f"'bbox' is {shortened(box)}, expected [left, top, width, height]"
    if problem:
        raise InputError(f"{where}: {problem}")


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
        if not problem and not _cover(mask["counts"], size[0] * size[1]):
            problem = "the counts of its RLE are not those of a mask of this size"
        return problem
    if not isinstance(mask, list) or not mask or not all(isinstance(part, list) for part in mask):
        return f"its mask is {shortened(mask)}, expected polygons or RLE"
    for part in mask:
        if len(part) % 2 or len(part) < SHORTEST_POLYGON:
            return f"a polygon of {len(part)} numbers, expected x, y of three corners or more"
        plain = {*map(type, part)} <= {int, float}  # nearly always, and this is quicker
        if not all(map(math.isfinite if plain else is_number, part)):
            return f"a polygon is {shortened(part)}, expected numbers"
        if max(map(abs, part)) > FARTHEST:
            return f"a polygon has a corner at {max(part, key=abs):g}, expected pixels"
    return None


def _problem_of_rle(mask: Mapping) -> str | None:
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, (list, tuple)) or [type(side) for side in size] != [int, int]:
        return f"its RLE has the 'size' {shortened(size)}, expected [height, width]"
    if isinstance(counts, list):
        known = all(type(count) is int and count >= 0 for count in counts)
    else:
        known = isinstance(counts, (str, bytes))
    return None if known else f"its RLE has the 'counts' {shortened(counts)}, expected runs"


def is_box(box: object) -> bool:
    """Whether it is four numbers."""
    return isinstance(box, (list, tuple)) and len(box) == BOX_NUMBERS and all(map(is_number, box))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite one."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _cover(counts: str | bytes | list[int], pixels: int) -> bool:
    """Whether runs are those of so many pixels."""
    runs = _runs(counts)
    return runs is not None and bool((runs >= 0).all()) and runs.sum() == pixels


def _runs(counts: str | bytes | list[int]) -> np.ndarray | None:
    """The lengths of the runs; None if compressed counts are torn or hold other characters."""
    if isinstance(counts, list):
        return np.array(counts, np.int64)
    text = counts.encode() if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - FIRST_CHARACTER
    ends = np.flatnonzero(codes & MORE == 0)
    if len(codes) == 0 or codes.min() < 0 or codes.max() >= CHARACTERS or codes[-1] & MORE:
        return None
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > MOST_DIGITS:
        return None
    shifts = DIGIT_BITS * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & DIGIT) << shifts, starts)
    runs -= np.where(codes[ends] & NEGATIVE, 1 << (DIGIT_BITS * lengths), 0)
    for first in (FIRST_DIFFERENCE - 2, FIRST_DIFFERENCE - 1):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs
