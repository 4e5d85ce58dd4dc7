"""The instances that targets teach: the way back from center, offset and weight maps to masks."""

from __future__ import annotations

import torch
from torch import Tensor

from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, InstanceTargets


def instances_of_targets(
    targets: InstanceTargets, sem_seg: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The instances of one image's targets: pixels with guidance whose offsets meet in one pixel.

    Args:
        targets: (C, H, W) or no center, (2, H, W), (H, W).
        sem_seg: (H, W) WSSS indices; most pixels of an instance decide its class, and where they
            say none, the instance is left out.

    Returns:
        masks (N, H, W) bool, classes (N,) int64 and weights (N,) float32, the largest of each;
        by their center's place.
    """
    height, width = sem_seg.shape
    rows, columns = torch.nonzero(targets.weight > 0, as_tuple=True)
    y = (rows + targets.offset[0, rows, columns]).round().long().clamp(0, height - 1)
    x = (columns + targets.offset[1, rows, columns]).round().long().clamp(0, width - 1)
    centers, owner = torch.unique(y * width + x, return_inverse=True)
    masks = torch.zeros(len(centers), height, width, dtype=torch.bool)
    masks[owner, rows, columns] = True
    classes = torch.full((len(centers),), -1)
    weights = torch.zeros(len(centers))
    for number, mask in enumerate(masks):
        indices = sem_seg[mask]
        indices = indices[(indices != BACKGROUND_INDEX) & (indices != IGNORE_INDEX)]
        if len(indices):
            classes[number] = indices.mode().values - 1
        weights[number] = targets.weight[mask].max()
    known = classes >= 0
    return masks[known], classes[known], weights[known]
