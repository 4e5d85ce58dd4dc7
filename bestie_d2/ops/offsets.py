"""Offset maps: from a pixel to the center of its instance, (y, x) in pixels of the map."""

from __future__ import annotations

import torch
from torch import Tensor

FAR = torch.finfo(torch.float32).max  # a center that is nearest to nothing
AT_ONCE = 2**18  # distances looked at, so that memory does not grow with the centers


def nearest_center(y: Tensor, x: Tensor, centers: Tensor, owners: Tensor) -> Tensor:
    """Which of its component's centers is nearest to each vote (paper: Eq. 1); the first on a tie.

    Args:
        y, x: (n,) float32, where pixels believe their center to be.
        centers: (K, 2, P) float32, up to P centers of each component, ``FAR`` where it has fewer.
        owners: (n,) int, the component of each vote.

    Returns:
        (n,) int64 in ``0..P-1``.
    """
    size = max(AT_ONCE // centers.shape[-1], 1)
    nearest = []
    for rows, columns, owner in zip(*(votes.split(size) for votes in (y, x, owners)), strict=True):
        apart_y, apart_x = centers.index_select(0, owner).unbind(1)
        apart_y, apart_x = apart_y.sub_(rows[:, None]), apart_x.sub_(columns[:, None])
        nearest.append(apart_y.square_().add_(apart_x.square_()).min(dim=1).indices)
    return torch.cat(nearest)


def rescale_offsets(offset: Tensor, scale_y: float | Tensor, scale_x: float | Tensor) -> Tensor:
    """Offset vectors of a map that was resized by (scale_y, scale_x), in pixels of the new map; -1
    where it was mirrored.

    Args:
        offset: (..., 2, H, W); only the vectors' lengths change, not the map's size.
    """
    y, x = offset.unbind(-3)
    return torch.stack([y * scale_y, x * scale_x], dim=-3)
