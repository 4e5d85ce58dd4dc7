"""Offset maps: from a pixel to the center of its instance, (y, x) in pixels of the map."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def vote(offset: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Where pixels believe their center to be: (rows + offset, columns + offset), (n,) float32.

    Args:
        offset: (2, H, W) float32.
        rows, columns: (n,) int pixel indices.
    """
    return rows + offset[0, rows, columns], columns + offset[1, rows, columns]


def nearest_center(vote_y: np.ndarray, vote_x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Index of the center nearest to each vote (paper: Eq. 1); the first one on a tie.

    A running minimum over the centers: memory is (n,), however many centers there are.

    Args:
        vote_y, vote_x: (n,) float.
        centers: (K, 2) (y, x), K >= 1.

    Returns:
        (n,) int64 in ``0..K-1``.
    """
    nearest = np.zeros(len(vote_y), dtype=np.int64)
    if len(centers) == 1:
        return nearest
    best = np.full(len(vote_y), np.inf, dtype=np.float32)
    for index, (y, x) in enumerate(np.asarray(centers, dtype=np.float32)):
        distance = (vote_y - y) ** 2 + (vote_x - x) ** 2
        closer = distance < best
        nearest[closer] = index
        np.minimum(best, distance, out=best)
    return nearest


def rescale_offsets(offset: Tensor, scale_y: float, scale_x: float) -> Tensor:
    """Offset vectors of a map that was resized by (scale_y, scale_x), in pixels of the new map.

    Args:
        offset: (..., 2, H, W); only the vectors' lengths change, not the map's size.
    """
    return offset * offset.new_tensor([scale_y, scale_x])[:, None, None]
