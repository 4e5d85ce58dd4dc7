"""Offset maps: from a pixel to the center of its instance, (y, x) in pixels of the map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FAR = torch.finfo(torch.float32).max  # a center that is nearest to nothing
AT_ONCE = 2**20  # distances looked at, so that memory does not grow with the centers


def nearest_center(votes: Sequence[Tensor], centers: Tensor, owners: Tensor) -> Tensor:
    """Which of its component's centers is nearest to each vote (paper: Eq. 1); the first on a tie.

    Args:
        votes: (n,) float32 y and x, where pixels believe their center to be.
        centers: (2, P, K) float32, up to P centers of each component, ``FAR`` where it has fewer.
        owners: (n,) int64, the component of each vote.

    Returns:
        (n,) int64 in ``0..P-1``.
    """
    nearest = torch.zeros_like(owners)
    size = max(AT_ONCE // centers.shape[1], 1)
    for *part, own, found in zip(
        *(own.split(size) for own in (*votes, owners, nearest)), strict=True
    ):
        y, x = (
            table.index_select(1, own).sub_(axis) for table, axis in zip(centers, part, strict=True)
        )
        found.copy_(y.square_().add_(x.square_()).min(dim=0).indices)
    return nearest


def rescale_offsets(offset: Tensor, scale_y: float, scale_x: float) -> Tensor:
    """Offset vectors of a map that was resized by (scale_y, scale_x), in pixels of the new map.

    Args:
        offset: (..., 2, H, W); only the vectors' lengths change, not the map's size.
    """
    return offset * offset.new_tensor([scale_y, scale_x])[:, None, None]
