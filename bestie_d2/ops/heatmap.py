"""Center maps: drawing Gaussians into them and finding their peaks.

All coordinates are (y, x) pixel indices of the map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.components import connected_components
from bestie_d2.structures import PointCues

TRUNCATION = 3  # the Gaussian is cut at 3 sigma + 1 pixels, as in the released recipe


@lru_cache(maxsize=8)
def gaussian_window(sigma: float) -> np.ndarray:
    """(2r+1, 2r+1) float32 Gaussian with peak 1 at its middle, r = 3 sigma + 1 pixels."""
    radius = math.ceil(TRUNCATION * sigma) + 1
    line = np.exp(-(np.arange(-radius, radius + 1, dtype=np.float64) ** 2) / (2 * sigma**2))
    window = np.outer(line, line).astype(np.float32)
    window.setflags(write=False)
    return window


def draw_gaussians(heatmap: np.ndarray, yx: Iterable[tuple[int, int]], sigma: float) -> None:
    """Raise a (H, W) float32 array, which the caller owns, to a Gaussian of peak 1 at each center.

    Where Gaussians overlap the larger value stays. Centers outside the map draw the part inside.
    """
    window = gaussian_window(sigma)
    radius = len(window) // 2
    height, width = heatmap.shape
    for y, x in yx:
        top, left = max(y - radius, 0), max(x - radius, 0)
        bottom, right = min(y + radius + 1, height), min(x + radius + 1, width)
        if top >= bottom or left >= right:
            continue
        target = heatmap[top:bottom, left:right]
        dy, dx = radius - y, radius - x
        np.maximum(target, window[top + dy : bottom + dy, left + dx : right + dx], out=target)


def local_maxima(heatmap: np.ndarray, kernel: int) -> np.ndarray:
    """Pixels above 0 that no pixel of the kernel x kernel window around them exceeds.

    Of touching pixels with one value, which bilinear upsampling makes at a map's border, the first
    counts. Only values above 0 count, so a caller sets everything that must neither be a peak nor
    hide one to 0. The work is done inside the box that bounds them.

    Args:
        heatmap: (H, W) float32.
        kernel: odd side of the window, in pixels.

    Returns:
        (N, 2) int (y, x) in raster order.
    """
    rows = np.flatnonzero((heatmap > 0).any(axis=1))
    if len(rows) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    top, bottom = rows[0], rows[-1] + 1
    columns = np.flatnonzero((heatmap[top:bottom] > 0).any(axis=0))
    left, right = columns[0], columns[-1] + 1
    crop = np.ascontiguousarray(heatmap[top:bottom, left:right], dtype=np.float32)
    highest = cv2.dilate(
        crop,
        cv2.getStructuringElement(cv2.MORPH_RECT, (kernel, kernel)),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    at_peak = (crop == highest) & (crop > 0)
    peaks = np.argwhere(at_peak)
    if len(peaks) > 1:
        plateau, _, _ = connected_components(at_peak, connectivity=8)
        _, first = np.unique(plateau[at_peak], return_index=True)
        peaks = peaks[np.sort(first)]
    return peaks + np.array([top, left])


def find_peaks(
    heatmap: Tensor, *, kernel: int = 41, threshold: float = 0.3, max_per_class: int = 25
) -> PointCues:
    """Local maxima of a class-wise map that reach a threshold (paper: Listing 3).

    Args:
        heatmap: (C, H, W) float, on any device.
        kernel: odd side of the window in which a peak is the largest, in pixels.
        threshold: smallest value of a peak, above 0.
        max_per_class: at most so many of a class, the highest.

    Returns:
        Peaks by class, then falling value (ties in raster order), on the device of ``heatmap``.

    Raises:
        ValueError: the threshold is not above 0.
    """
    if threshold <= 0:
        raise ValueError(f"find_peaks needs a threshold above 0, got {threshold}")
    host = heatmap.detach().float().cpu().numpy()
    candidates = host >= threshold
    yx, classes = [], []
    for class_id in np.flatnonzero(candidates.any(axis=(1, 2))):
        peaks = local_maxima(np.where(candidates[class_id], host[class_id], 0), kernel)
        values = host[class_id][peaks[:, 0], peaks[:, 1]]
        kept = peaks[np.argsort(-values, kind="stable")[:max_per_class]]
        yx.append(kept)
        classes.append(np.full(len(kept), class_id, dtype=np.int64))
    if not yx:
        return PointCues.empty(heatmap.device)
    rows, columns = torch.from_numpy(np.concatenate(yx).astype(np.int64)).unbind(1)
    class_ids = torch.from_numpy(np.concatenate(classes))
    scores = torch.from_numpy(host)[class_ids, rows, columns]
    points = torch.stack([rows, columns], dim=1).float()
    return PointCues(points, class_ids, scores).to(heatmap.device)
