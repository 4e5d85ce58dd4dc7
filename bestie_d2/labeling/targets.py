"""Drawing labeled instances into the center, offset and weight maps of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.grouping import Foreground
from bestie_d2.ops.heatmap import draw_gaussians, zeros
from bestie_d2.structures import InstanceTargets, PseudoLabels

Areas = TypeVar("Areas", np.ndarray, Tensor, float)


def scales_of(areas: Areas, sigma: float, by_size: float) -> Areas:
    """Sigma of the Gaussian of an object of so many pixels: this share of the square root of its
    size, or the same for all."""
    return by_size * areas**0.5 if by_size else areas * 0.0 + sigma


def draw_targets(
    labels: Sequence[PseudoLabels], *, num_classes: int, device: torch.device | str = "cpu"
) -> InstanceTargets:
    """The targets of a batch of equally sized images, on ``device``: (B, C, H, W), (B, 2, H, W)
    and (B, H, W)."""
    foreground = Foreground([image.components for image in labels], device)
    centers = foreground.put(np.concatenate([image.centers for image in labels]))
    weights = foreground.put(np.concatenate([image.weights for image in labels]))
    offset, weight = draw_offsets(foreground, foreground.owners, centers, weights)
    channels = [image.peak_classes + b * num_classes for b, image in enumerate(labels)]
    peaks = np.concatenate([image.peaks for image in labels])
    scales = np.concatenate([image.scales for image in labels])
    center = draw_centers(
        foreground,
        num_classes,
        foreground.put(np.concatenate(channels)),
        foreground.put(peaks),
        foreground.put(scales),
        scales.max(initial=0),
    )
    return InstanceTargets(center, offset, weight)


def draw_offsets(
    foreground: Foreground, parts: Tensor, centers: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """(B, 2, H, W) from each pixel to its instance's center, and (B, H, W) its weight; elsewhere 0.

    Args:
        parts: (n,) int instance ``0..M-1`` of each pixel; those of ``M`` belong to none.
        centers: (M, 2) that the offsets lead to.
        weights: (M,); instances of weight 0 are left out.
    """
    images, height, width = foreground.shape
    offset = zeros((images, 2, height, width), foreground.device)
    weight = zeros(foreground.shape, foreground.device)
    y, x, given = torch.nn.functional.pad(torch.cat([centers.T, weights[None]]).float(), (0, 1))
    per_pixel = given.index_select(0, parts)
    weight.view(-1).index_add_(0, foreground.pixels, per_pixel)
    guided = per_pixel > 0
    for axis, (middle, pixel) in enumerate(((y, foreground.rows), (x, foreground.columns))):
        vector = middle.index_select(0, parts).sub_(pixel).mul_(guided)
        offset.view(-1).index_add_(0, foreground.index(2, axis), vector)
    return offset, weight


def draw_centers(
    foreground: Foreground,
    num_classes: int,
    channels: Tensor,
    peaks: Tensor,
    scales: Tensor,
    largest: float,
) -> Tensor:
    """(B, C, H, W) with a Gaussian at each (M, 2) peak; arguments as of ``draw_gaussians``."""
    images, *size = foreground.shape
    center = zeros((images, num_classes, *size), foreground.device)
    draw_gaussians(center.view(-1, *size), channels, peaks, scales, largest)
    return center
