"""Runs of mask pixels in the order of a whole picture, from a crop alone: no mask of its size."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as mask_api

from bestie_d2.structures import ObjectMask


def runs_by_row(found: ObjectMask, width: int) -> np.ndarray:
    """(R, 2) int64 first pixel of each run and the one after its last, ascending and apart, where
    pixel [y, x] of a picture so wide has number ``y * width + x``."""
    top, left = found.top_left
    return _runs(found.mask, top, left, width)


def runs_by_column(found: ObjectMask, height: int) -> np.ndarray:
    """The same where the pixel's number is ``x * height + y``, as COCO counts."""
    top, left = found.top_left
    return _runs(found.mask.T, left, top, height)


def _runs(lines: np.ndarray, first_line: int, offset: int, length: int) -> np.ndarray:
    # A pixel of background at the end of each line keeps the runs of two lines apart.
    padded = np.pad(lines, ((0, 0), (0, 1))).ravel()
    changes = np.flatnonzero(np.diff(padded, prepend=False)).reshape(-1, 2)
    line, place = np.divmod(changes, lines.shape[1] + 1)
    runs = (line + first_line) * length + place + offset
    apart = runs[1:, 0] > runs[:-1, 1]  # all but those from border to border
    return np.stack([runs[np.r_[True, apart], 0], runs[np.r_[apart, True], 1]], axis=1)


def counts_of(runs: np.ndarray, size: int) -> list[int]:
    """Lengths of background and object in turn, background first, of a picture of ``size``
    pixels."""
    counts = np.diff(np.concatenate([[0], runs.ravel(), [size]]))
    return (counts if counts[-1] else counts[:-1]).tolist()


def coco_rle(found: ObjectMask, height: int, width: int) -> dict:
    """The run-length encoding of pycocotools, with counts as bytes."""
    counts = counts_of(runs_by_column(found, height), height * width)
    return mask_api.frPyObjects({"size": [height, width], "counts": counts}, height, width)
