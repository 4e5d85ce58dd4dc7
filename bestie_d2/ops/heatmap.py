"""Center maps: Gaussians drawn into them, and their local maxima.

All coordinates are (y, x) pixel indices of the map.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.components import touching_pixels
from bestie_d2.structures import PointCues

TRUNCATION = 3  # the Gaussian is cut at 3 sigma + 1 pixels, as in the released recipe


def zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Float32 zeros. In host memory, pages that nobody writes to cost neither time nor memory."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, dtype=np.float32))
    return torch.zeros(shape, device=device)


def draw_gaussians(
    heatmaps: Tensor, channels: Tensor, yx: Tensor, scales: Tensor, largest: float
) -> None:
    """Raise maps, which the caller owns, to a Gaussian of peak 1 at each center.

    Where Gaussians overlap the larger value stays. Centers outside the map draw the part inside.

    Args:
        heatmaps: (C, H, W) float32, contiguous, nowhere below 0.
        channels: (M,) int64, the map of each center.
        yx: (M, 2) int64 pixels.
        scales: (M,) float, sigma of each in pixels.
        largest: no scale is larger.
    """
    _, height, width = heatmaps.shape
    reach = math.ceil(TRUNCATION * largest) + 1
    steps = torch.arange(-reach, reach + 1, device=heatmaps.device)
    line = torch.exp(-(steps.double() ** 2) / (2 * scales.double()[:, None] ** 2))
    line *= steps.abs() <= torch.ceil(TRUNCATION * scales)[:, None] + 1
    rows, columns = yx[:, :1] + steps, yx[:, 1:] + steps
    vertical = line * ((rows >= 0) & (rows < height))
    horizontal = line * ((columns >= 0) & (columns < width))
    windows = (vertical[:, :, None] * horizontal[:, None, :]).float()
    first = channels[:, None] * height + rows.clamp(0, height - 1)
    pixels = first[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    heatmaps.view(-1).scatter_reduce_(0, pixels.flatten(), windows.flatten(), "amax")


def window_maxima(canvas: Tensor, kernel: int, stride: int) -> Tensor:
    """The largest value of the window that begins at each place of a flat canvas.

    Args:
        canvas: (n,) rows of a map, one after the other.
        kernel: side of the window.
        stride: length of a row.

    Returns:
        (n - (kernel - 1) * (stride + 1),).
    """
    for step in (1, stride):
        reach = 1
        while reach < kernel:  # twice as far each time
            further = min(reach, kernel - reach)
            canvas = torch.maximum(canvas[: -further * step], canvas[further * step :])
            reach += further
    return canvas


def first_of_plateaus(yx: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """(M,) which of (N, 2) maxima count: of those that touch, and thus have one value, the first.
    Bilinear upsampling makes such ones at a map's border."""
    _, groups = touching_pixels(yx, owners, connectivity=8)
    return np.sort(np.unique(groups, return_index=True)[1])


def find_peaks(
    heatmap: Tensor, *, kernel: int = 41, threshold: float = 0.3, max_per_class: int = 25
) -> PointCues:
    """Local maxima of a class-wise map that reach a threshold (paper: Listing 3).

    Args:
        heatmap: (C, H, W) float, on any device.
        kernel: odd side of the window in which a peak is the largest, in pixels, at least 3.
        threshold: smallest value of a peak, above 0.
        max_per_class: at most so many of a class, the highest.

    Returns:
        Peaks by class, then falling value (ties in raster order), on the device of ``heatmap``.

    Raises:
        ValueError: the threshold is not above 0.
    """
    if threshold <= 0:
        raise ValueError(f"find_peaks needs a threshold above 0, got {threshold}")
    found = []
    for class_id, channel in enumerate(heatmap.detach().float().cpu().numpy()):
        if channel.max(initial=0) < threshold:
            continue
        channel = np.ascontiguousarray(channel)
        window_maximum = cv2.dilate(channel, np.ones((kernel, kernel), np.uint8))
        yx = np.argwhere((channel == window_maximum) & (channel >= threshold))
        yx = yx[first_of_plateaus(yx, np.zeros(len(yx), dtype=np.int64))]
        values = channel[tuple(yx.T)]
        order = np.argsort(-values, kind="stable")[:max_per_class]
        found.append((yx[order], np.full(len(order), class_id), values[order]))
    if not found:
        return PointCues.empty(heatmap.device)
    yx, classes, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    columns = (torch.from_numpy(column) for column in (yx.astype(np.float32), classes, scores))
    return PointCues(*columns).to(heatmap.device)
