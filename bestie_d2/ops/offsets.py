"""Offset maps: from a pixel to the center of its instance, (y, x) in pixels of the map."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

CELL = 8  # side in pixels of the cells in which most votes share their nearest center
BORDER = 32  # pixels around the centers that the cells cover
FEW = 400_000  # votes x centers up to which comparing all of them is fastest
ROUNDING = 1e-5  # share of a distance, well above what float32 can be wrong by
UNSETTLED = -1


def nearest_center(vote_y: np.ndarray, vote_x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Index of the center nearest to each vote (paper: Eq. 1); the first one on a tie.

    Votes in a cell that one center is nearest to everywhere are settled together, and only the
    others compare all centers. Memory is (n,), however many centers there are.

    Args:
        vote_y, vote_x: (n,) float32, where pixels believe their center to be.
        centers: (K, 2) (y, x), K >= 1.

    Returns:
        (n,) int64 in ``0..K-1``.
    """
    if len(centers) == 1:
        return np.zeros(len(vote_y), dtype=np.int64)
    centers = np.asarray(centers, dtype=np.float32)
    if len(vote_y) * len(centers) <= FEW:
        return _compare_all(vote_y, vote_x, centers)
    low = centers.min(axis=0) - BORDER
    rows, columns = np.ceil((centers.max(axis=0) + BORDER - low) / CELL).astype(int).tolist()
    if rows * columns > len(vote_y):
        return _compare_all(vote_y, vote_x, centers)
    nearest = _by_cells(vote_y, vote_x, centers, low, (rows, columns))
    left = np.flatnonzero(nearest == UNSETTLED)
    nearest[left] = _compare_all(vote_y[left], vote_x[left], centers)
    return nearest


def _settled_cells(centers: np.ndarray, low: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h * w,) index of the center nearest to everything in a cell, or ``UNSETTLED``.

    It is one that leads the second nearest by a cell's diagonal, seen from the cell's middle.
    """
    middles = (np.stack(np.divmod(np.arange(shape[0] * shape[1]), shape[1]), axis=1) + 1 / 2) * CELL
    distance, index = cKDTree(centers).query(middles + low, k=2)
    lead = distance[:, 1] - distance[:, 0]
    diagonal = CELL * 2**0.5
    return np.where(lead > diagonal + ROUNDING * (1 + distance[:, 1]), index[:, 0], UNSETTLED)


def _by_cells(
    vote_y: np.ndarray,
    vote_x: np.ndarray,
    centers: np.ndarray,
    low: np.ndarray,
    shape: tuple[int, int],
) -> np.ndarray:
    """(n,) index of the center that is nearest to all of a vote's cell, or ``UNSETTLED``.

    Args:
        low: (y, x) at which the cells begin.
        shape: rows and columns of cells.
    """
    height, width = shape
    row, column = (vote_y - low[0]) / CELL, (vote_x - low[1]) / CELL
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    cell = np.where(inside, row, 0).astype(np.int64) * width
    cell += np.where(inside, column, 0).astype(np.int64)
    return np.where(inside, _settled_cells(centers, low, shape)[cell], UNSETTLED)


def _compare_all(vote_y: np.ndarray, vote_x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """(n,) index by a running minimum over the centers."""
    nearest = np.zeros(len(vote_y), dtype=np.int64)
    best = np.full(len(vote_y), np.inf, dtype=np.float32)
    for index, (y, x) in enumerate(centers):
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
