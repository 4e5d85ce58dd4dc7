"""Pixel-adaptive mask refinement: masks flow to where the image looks alike.

Araslanov & Roth, "Single-stage semantic segmentation from image labels" (CVPR 2020).

Legend: ``B`` images, ``K`` masks, ``N`` neighbours (8 for each dilation), ``H, W`` the map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)
STD_SHARE = 0.1  # of the local deviation, by which differences are measured
EPSILON = 1e-8  # in place of the deviation where the image is flat
DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # (y, x)


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """For each of the N neighbours a view of (B, K, H, W) maps moved there; the border goes on."""
    height, width = maps.shape[-2:]
    reach = max(dilations)
    padded = F.pad(maps, (reach,) * 4, mode="replicate")
    for dilation in dilations:
        for y, x in DIRECTIONS:
            top, left = reach + y * dilation, reach + x * dilation
            yield padded[..., top : top + height, left : left + width]


def neighbour_affinity(image: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """How much each pixel takes from each neighbour.

    Args:
        image: (B, 3, H, W) float, in any linear scale.
        dilations: distances of the neighbours in pixels, eight neighbours at each.

    Returns:
        (B, N, H, W) float, summing to 1 over N: the softmax of minus the difference of the colors,
        each channel in units of a tenth of its deviation over the neighbours, averaged.
    """
    count = len(dilations) * len(DIRECTIONS)
    total, squares = torch.zeros_like(image), torch.zeros_like(image)
    for neighbour in _neighbours(image, dilations):
        difference = neighbour - image
        total += difference
        squares += difference * difference
    variance = (squares - total * total / count) / count
    unit = STD_SHARE * variance.clamp(min=0).sqrt() + EPSILON
    batch, _, height, width = image.shape
    affinity = image.new_empty(batch, count, height, width)
    for index, neighbour in enumerate(_neighbours(image, dilations)):
        affinity[:, index] = ((neighbour - image).abs_() / unit).mean(dim=1).neg_()
    return affinity.softmax(dim=1)


@torch.no_grad()
def refine_masks(
    image: Tensor, masks: Tensor, *, dilations: Sequence[int] = DILATIONS, iterations: int = 10
) -> Tensor:
    """Replace masks, again and again, by their means over neighbours that look alike.

    Args:
        image: (B, 3, H, W) float, in any linear scale.
        masks: (B, K, H, W) float; those that sum to 1 over K still do afterwards.
        dilations: distances of the neighbours in pixels, eight neighbours at each.
    """
    weights = neighbour_affinity(image.to(masks.dtype), dilations).unbind(dim=1)
    for _ in range(iterations):
        refined = torch.zeros_like(masks)
        for weight, neighbour in zip(weights, _neighbours(masks, dilations), strict=True):
            refined.addcmul_(weight.unsqueeze(1), neighbour)
        masks = refined
    return masks
