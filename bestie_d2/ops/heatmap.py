"""Center maps: drawing Gaussians into them and finding their peaks.

All coordinates are (y, x) pixel indices of the map.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.components import touching_pixels
from bestie_d2.ops.devices import in_host_memory, to_device
from bestie_d2.structures import PointCues

TRUNCATION = 3  # the Gaussian is cut at 3 sigma + 1 pixels, as in the released recipe
CANDIDATES = 3  # blocks looked at for each peak asked for; on noise about half of them hold one


@lru_cache(maxsize=8)
def gaussian_window(sigma: float) -> np.ndarray:
    """(2r+1, 2r+1) float32 Gaussian with peak 1 at its middle, r = 3 sigma + 1 pixels."""
    radius = math.ceil(TRUNCATION * sigma) + 1
    line = np.exp(-(np.arange(-radius, radius + 1, dtype=np.float64) ** 2) / (2 * sigma**2))
    window = np.outer(line, line).astype(np.float32)
    window.setflags(write=False)
    return window


def draw_gaussians(heatmaps: Tensor, classes: np.ndarray, yx: np.ndarray, sigma: float) -> None:
    """Raise maps, which the caller owns, to a Gaussian of peak 1 at each center.

    Where Gaussians overlap the larger value stays. Centers outside the map draw the part inside.

    Args:
        heatmaps: (C, H, W) float32, contiguous, nowhere below 0, on any device.
        classes: (M,) int64, the map of each center.
        yx: (M, 2) int64 pixels.
        sigma: in pixels.
    """
    window = gaussian_window(sigma)
    if in_host_memory(heatmaps.device):
        _raise_windows(heatmaps.numpy(), classes, yx, window)
    else:
        arrays = (classes, yx, window.copy())
        _scatter_windows(heatmaps, *(to_device(array, heatmaps.device) for array in arrays))


def _raise_windows(
    heatmaps: np.ndarray, classes: np.ndarray, yx: np.ndarray, window: np.ndarray
) -> None:
    """Center by center: on a host that takes less than to address every pixel of every window."""
    _, *size = heatmaps.shape
    side = len(window)
    for class_id, corner in zip(classes.tolist(), (yx - side // 2).tolist(), strict=True):
        seen = [slice(max(-c, 0), min(side, s - c)) for c, s in zip(corner, size, strict=True)]
        if all(axis.start < axis.stop for axis in seen):
            y, x = (slice(a.start + c, a.stop + c) for a, c in zip(seen, corner, strict=True))
            part = heatmaps[class_id, y, x]
            np.maximum(part, window[tuple(seen)], out=part)


def _scatter_windows(heatmaps: Tensor, classes: Tensor, yx: Tensor, window: Tensor) -> None:
    """All at once, on the device that everything is on: as many operations for many centers as for
    one."""
    _, height, width = heatmaps.shape
    reach = torch.arange(len(window), device=heatmaps.device) - len(window) // 2
    rows = (yx[:, :1] + reach)[:, :, None]
    columns = (yx[:, 1:] + reach)[:, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    row_of_map = classes[:, None, None] * height + rows.clamp(0, height - 1)
    pixels = row_of_map * width + columns.clamp(0, width - 1)
    heatmaps.view(-1).scatter_reduce_(0, pixels.flatten(), (window * inside).flatten(), "amax")


def local_maxima(heatmap: np.ndarray, kernel: int) -> np.ndarray:
    """Pixels above 0 that no pixel of the kernel x kernel window around them exceeds.

    Of touching pixels with one value, which bilinear upsampling makes at a map's border, the first
    counts. Only values above 0 count, so a caller sets everything that must neither be a peak nor
    hide one to 0. The work is done inside the box that bounds them.

    Args:
        heatmap: (H, W) float32.
        kernel: odd side of the window, in pixels, at least 3.

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
    pixels = np.flatnonzero((crop == _window_maxima(crop, kernel)) & (crop > 0))
    pixels = _first_of_plateaus(crop, pixels)
    return np.stack(np.divmod(pixels, right - left), axis=1) + np.array([top, left])


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
    host = np.ascontiguousarray(heatmap.detach().float().cpu().numpy())
    found = [_highest_maxima(channel, kernel, threshold, max_per_class) for channel in host]
    classes = np.repeat(np.arange(len(host)), [len(pixels) for pixels in found])
    pixels = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    scores = host.reshape(len(host), -1)[classes, pixels]
    yx = np.stack(np.divmod(pixels, host.shape[-1]), axis=1).astype(np.float32)
    tensors = (torch.from_numpy(column) for column in (yx, classes, scores))
    return PointCues(*tensors).to(heatmap.device)


# -- find_peaks looks at the largest values of small blocks before it looks at any pixel
#
# A block is at most half a window wide, so the window around any of its pixels covers the blocks
# beside it whole: a block that one of them tops holds no maximum. What is left is taken by falling
# value until enough maxima are found, and only the windows of those pixels are read. Below, pixels
# and blocks are flat indices into contiguous float32 maps, (H, W) and (h, w).


def _highest_maxima(heatmap: np.ndarray, kernel: int, threshold: float, limit: int) -> np.ndarray:
    """At most ``limit`` local maxima that reach the threshold, by falling value, in raster order.

    Returns:
        (N,) int64.
    """
    radius = kernel // 2
    side = max(1, (radius + 1) // 2)
    coarse = _block_maxima(heatmap, side)
    covered = (radius + 1) // side - 1  # blocks on each side that every pixel's window covers
    candidate = (coarse >= threshold) & (coarse == _window_maxima(coarse, 2 * covered + 1))
    blocks = np.flatnonzero(candidate)
    falling = -coarse.ravel()[blocks]
    order = np.argsort(falling, kind="stable")
    blocks, falling = blocks[order], falling[order]
    found = np.zeros(0, dtype=np.int64)
    start = 0
    while start < len(blocks) and len(found) < limit:
        last = min(start + CANDIDATES * limit, len(blocks)) - 1
        stop = int(np.searchsorted(falling, falling[last], side="right"))  # plateaus stay together
        pixels = _pixels_at(heatmap, coarse, blocks[start:stop], side)
        pixels = pixels[_is_window_maximum(heatmap, pixels, kernel)]
        found = np.concatenate([found, _first_of_plateaus(heatmap, pixels)])
        start = stop
    return found[:limit]


def _block_maxima(heatmap: np.ndarray, side: int) -> np.ndarray:
    """(h, w) largest value of each block of side x side pixels; the last ones may be cut."""
    height, width = heatmap.shape
    whole = height // side
    rows = np.empty((-(-height // side), width), dtype=heatmap.dtype)
    heatmap[: whole * side].reshape(whole, side, width).max(axis=1, out=rows[:whole])
    if len(rows) > whole:
        heatmap[whole * side :].max(axis=0, out=rows[whole])
    blocks = rows[:, ::side].copy()
    for offset in range(1, side):
        part = rows[:, offset::side]
        np.maximum(blocks[:, : part.shape[1]], part, out=blocks[:, : part.shape[1]])
    return blocks


def _pixels_at(
    heatmap: np.ndarray, coarse: np.ndarray, blocks: np.ndarray, side: int
) -> np.ndarray:
    """The pixels in which the values of (n,) blocks lie, by falling value, then raster order."""
    height, width = heatmap.shape
    top, left = np.divmod(blocks, coarse.shape[1])
    inside = np.arange(side)
    rows = (top[:, None] * side + inside)[:, :, None]
    columns = (left[:, None] * side + inside)[:, None, :]
    pixels = np.minimum(rows, height - 1) * width + np.minimum(columns, width - 1)
    equal = heatmap.ravel()[pixels] == coarse.ravel()[blocks][:, None, None]
    pixels = pixels[equal & (rows < height) & (columns < width)]
    return pixels[np.lexsort((pixels, -heatmap.ravel()[pixels]))]


def _window_maxima(heatmap: np.ndarray, kernel: int) -> np.ndarray:
    """(H, W) largest value of the kernel x kernel window around each pixel."""
    return cv2.dilate(heatmap, np.ones((kernel, kernel), dtype=np.uint8))


def _is_window_maximum(heatmap: np.ndarray, pixels: np.ndarray, kernel: int) -> np.ndarray:
    """(n,) bool: whether nothing in the window around each pixel is larger than it."""
    values = heatmap.ravel()[pixels]
    if len(pixels) * kernel**2 > heatmap.size:  # all windows together are larger than the map
        return values == _window_maxima(heatmap, kernel).ravel()[pixels]
    height, width = heatmap.shape
    around = np.arange(kernel) - kernel // 2
    y, x = np.divmod(pixels, width)
    rows = np.clip(y[:, None] + around, 0, height - 1) * width
    columns = np.clip(x[:, None] + around, 0, width - 1)
    windows = heatmap.ravel()[rows[:, :, None] + columns[:, None, :]]
    return values == windows.reshape(-1, kernel**2).max(axis=1)


def _first_of_plateaus(heatmap: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Of touching maxima, which have one value, the one given first; in the order given."""
    values = heatmap.ravel()[maxima]
    order = np.argsort(values, kind="stable")
    equal = np.flatnonzero(values[order[1:]] == values[order[:-1]])
    if len(equal) == 0:
        return maxima
    tied = np.unique(order[np.concatenate([equal, equal + 1])])
    groups = touching_pixels(maxima[tied], heatmap.shape[1])
    _, first = np.unique(groups, return_index=True)
    kept = np.ones(len(maxima), dtype=bool)
    kept[tied] = False
    kept[tied[first]] = True
    return maxima[kept]
