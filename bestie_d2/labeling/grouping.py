"""Grouping: the components of a batch are split by the center that each pixel's offset leads to
(paper: Eq. 1 and Appendix). Training (refinement) and inference (decode) share it.

All is done on flat lists of the components' pixels, so that the number of operations depends on
neither images nor components, and cost and memory follow the foreground. A device is waited for
once: the host has to know how many centers there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from bestie_d2.ops.components import Components, side_by_side, touching_pixels
from bestie_d2.ops.heatmap import first_of_plateaus, window_maxima, zeros
from bestie_d2.ops.offsets import FAR, nearest_center


def fetch(tensor: Tensor) -> np.ndarray:
    """A tensor in host memory; what is on a device is waited for, here and nowhere else."""
    return tensor.cpu().numpy()


class Foreground:
    """The components of a batch of (H, W) maps: ``K`` in all, with ``n`` pixels.

    Attributes:
        components: of each image.
        shape: (B, H, W).
        pixels: (n,) int32 flat indices into (B, H, W), ascending.
        owners: (n,) int32 component ``0..K-1`` of each pixel.
        rows, columns: (n,) int32 of each pixel in its image.
        host_pixels, host_owners: the first two in host memory.
        classes, images: (K,) int64 of each component, in host memory.
        first: (B,) number of each image's first component, in host memory.
    """

    def __init__(self, components: Sequence[Components], device: torch.device | str) -> None:
        self.components, self.device = components, torch.device(device)
        self.shape = images, height, width = (len(components), *components[0].shape)
        counts = [len(found) for found in components]
        self.first = np.cumsum(counts, dtype=np.int32) - np.array(counts, dtype=np.int32)
        self.images = np.repeat(np.arange(images), counts)
        self.classes = np.concatenate([found.classes for found in components])
        starts = (np.arange(images) * (height * width)).astype(np.int32)
        numbered = [*zip(components, starts, self.first, strict=True)]
        self.host_pixels = np.concatenate([found.pixels + start for found, start, _ in numbered])
        self.host_owners = np.concatenate([found.owners + first for found, _, first in numbered])
        self.pixels, self.owners = self.put(self.host_pixels), self.put(self.host_owners)
        rows = self.pixels // width  # of all images, one below the other
        self.columns = self.pixels - rows * width
        self.rows = rows.sub_(self.spread((self.images * height).astype(np.int32)))

    def put(self, array: np.ndarray) -> Tensor:
        """An array on the device, which need not end before what it is doing."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def spread(self, values: np.ndarray) -> Tensor:
        """(n,) of each pixel what (K,) values say of its component."""
        return self.put(values).index_select(0, self.owners)

    def index(self, channels: int, channel: np.ndarray | int) -> Tensor:
        """(n,) flat indices into (B, ``channels``, H, W) maps, of the (K,) ``channel`` of each
        component or of one for all."""
        images, height, width = self.shape
        short = images * channels * height * width < 2**31  # takes half the memory
        skipped = (self.images * (channels - 1) + channel) * (height * width)
        return self.spread(skipped.astype(np.int32 if short else np.int64)).add_(self.pixels)

    def read(self, maps: Tensor, channel: np.ndarray | int) -> Tensor:
        """(n,) float32 values of (B, ., H, W) maps there."""
        return maps.reshape(-1).index_select(0, self.index(maps.shape[1], channel)).float()

    def read_offsets(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) float32 y and x of (B, 2, H, W) offsets."""
        return self.read(offset, 0), self.read(offset, 1)

    def softmax(self, logits: Tensor) -> Tensor:
        """(n,) probability of each pixel's class, from (B, C+1, H, W) logits."""
        value, flat = self.read(logits, self.classes + 1), logits.reshape(-1)
        total, index = torch.zeros_like(value), self.index(logits.shape[1], 0)
        for _ in range(logits.shape[1]):
            total += flat.index_select(0, index).float().sub_(value).exp_()
            index += self.shape[1] * self.shape[2]
        return total.reciprocal_()

    def locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(m, 2) int64 (y, x) in the image, and (m,) component, of members of the lists."""
        rows, columns = np.divmod(self.host_pixels[index].astype(np.int64), self.shape[2])
        return np.stack([rows % self.shape[1], columns], axis=1), self.host_owners[index]

    def find(self, owners: np.ndarray, yx: np.ndarray) -> np.ndarray:
        """(m,) where (m, 2) int pixels of the images of (m,) components stand in the lists, -1
        where they do not."""
        if len(self.host_pixels) == 0:
            return np.full(len(yx), -1)
        wanted = (self.images[owners] * self.shape[1] + yx[:, 0]) * self.shape[2] + yx[:, 1]
        index = np.searchsorted(self.host_pixels, wanted).clip(max=len(self.host_pixels) - 1)
        return np.where(self.host_pixels[index] == wanted, index, -1)


@dataclass(frozen=True)
class CenterClustering:
    """Finding centers in the offset map (paper: Appendix, Figure 9). Lengths in pixels.

    Attributes:
        magnitude: a center's pixels have shorter offsets than this (2.5).
        area: the pixels that such a cluster should cover (21) ...
        area_tolerance: ... give or take fewer than this (epsilon = 3).
        min_center: the center map's smallest value there (released recipe: 0.05).
        min_distance: to every local maximum of the center map (released recipe: 100).
    """

    magnitude: float = 2.5
    area: int = 21
    area_tolerance: int = 3
    min_center: float = 0.05
    min_distance: float = 100.0


@dataclass(frozen=True)
class Centers:
    """``M`` centers, component by component; peaks before clusters. Arrays in host memory.

    Attributes:
        yx: (M, 2) of the image.
        owners: (M,) component of each.
        clustered: (M,) bool; found in the offset map, not in the center map.
    """

    yx: np.ndarray
    owners: np.ndarray
    clustered: np.ndarray

    def joined(self, yx: np.ndarray, owners: np.ndarray, *, clustered: bool) -> Centers:
        """These and others, of components in any order."""
        owners = np.concatenate([self.owners, owners])
        order = np.argsort(owners, kind="stable")
        kinds = np.append(self.clustered, np.full(len(yx), clustered))
        return Centers(np.concatenate([self.yx, yx])[order], owners[order], kinds[order])


PEAK, SHORT, LIKELY = 1, 2, 4  # what a pixel may be: a peak, of short offset, likely a center


def find_centers(
    foreground: Foreground,
    center: Tensor,
    offset: Sequence[Tensor],
    *,
    threshold: float,
    kernel: int,
    clustering: bool | CenterClustering,
) -> Centers:
    """Peaks of the center map, and clusters of short offsets far from them.

    Args:
        center: (n,) value of its class's center map at each pixel.
        offset: (n,) y and x at each pixel.
        threshold: a peak's value is above it.
        kernel: odd side of the window in which a peak is the largest of its component.
        clustering: the released values for True, no clusters for False.
    """
    recipe = CenterClustering() if clustering is True else clustering
    state = _are_peaks(foreground, center, threshold, kernel).byte()
    if recipe:
        y, x = offset
        short = y.square().add_(x.square()) < recipe.magnitude**2
        state += short.byte() * SHORT + (center > recipe.min_center).byte() * LIKELY
    known = fetch(state)
    yx, owners = foreground.locate(np.flatnonzero(known & PEAK))
    kept = first_of_plateaus(yx, owners)
    yx, owners = yx[kept], owners[kept]
    peaks = Centers(yx[:0], owners[:0], np.zeros(0, bool)).joined(yx, owners, clustered=False)
    if not recipe:
        return peaks
    more, more_owners = _clusters(foreground, known, recipe)
    # Components stand too far apart, along a third axis, for one's peaks to be near to another's:
    # comparing all pairs instead takes gigabytes where there are 25,000 components.
    step = 2 * (recipe.min_distance + 1)
    nearest, _ = cKDTree(np.column_stack([yx, owners * step])).query(
        np.column_stack([more, more_owners * step])
    )
    far = nearest > recipe.min_distance
    return peaks.joined(more[far], more_owners[far], clustered=True)


def _are_peaks(foreground: Foreground, center: Tensor, threshold: float, kernel: int) -> Tensor:
    """(n,) bool: above the threshold, and nothing in the window around it is larger in its
    component. Components are laid side by side for this, a window's reach apart."""
    boxes = np.concatenate([found.boxes for found in foreground.components])
    reach = kernel // 2
    corners, (height, width) = side_by_side(boxes[:, 2:] + reach)
    shift = ((corners - boxes[:, :2]) @ (width, 1)).astype(np.int32)
    index = foreground.spread(shift).add_(foreground.rows * width).add_(foreground.columns)
    high = center > max(threshold, 0)
    margin = reach * (width + 1)
    sheet = zeros((height * width + 2 * margin,), foreground.device)
    sheet[margin:].index_add_(0, index, center * high)
    return high & (center == window_maxima(sheet, kernel, width).index_select(0, index))


def _clusters(
    foreground: Foreground, known: np.ndarray, recipe: CenterClustering
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) whole pixel under the mean of each cluster of short offsets, and (N,) its component,
    from what each pixel is (n,) known to be."""
    likely = np.zeros(len(foreground.classes), dtype=bool)
    likely[foreground.host_owners[known & LIKELY > 0]] = True  # else no cluster counts there
    short = np.flatnonzero(known & SHORT)
    yx, owners = foreground.locate(short[likely[foreground.host_owners[short]]])
    count, groups = touching_pixels(yx, owners, connectivity=4)
    areas = np.bincount(groups, minlength=count)
    sums = [np.bincount(groups, axis, minlength=count) for axis in yx.T]
    middles = (np.stack(sums, axis=1) / areas[:, None]).astype(np.int64)
    owner_of = np.zeros(count, dtype=owners.dtype)
    owner_of[groups] = owners
    fits = np.flatnonzero(np.abs(areas - recipe.area) < recipe.area_tolerance)
    middles, owner_of = middles[fits], owner_of[fits]
    index = foreground.find(owner_of, middles)
    fits = (index >= 0) & (foreground.host_owners[index] == owner_of)
    fits &= known[index] & LIKELY > 0
    return middles[fits], owner_of[fits]


def assign(foreground: Foreground, offset: Sequence[Tensor], centers: Centers) -> Tensor:
    """(n,) int64, the center ``0..M-1`` of its component that each pixel's offset leads to; ``M``
    where the component has none."""
    total, count = len(foreground.classes), len(centers.owners)
    counts = np.bincount(centers.owners, minlength=total)
    first = np.cumsum(counts) - counts
    parts = foreground.spread(np.where(counts > 0, first, count))
    if counts.max(initial=0) > 1:
        table = np.full((total, 2, counts.max()), FAR, dtype=np.float32)
        table[centers.owners, :, np.arange(count) - first[centers.owners]] = centers.yx
        y, x = foreground.rows + offset[0], foreground.columns + offset[1]
        parts += nearest_center(y, x, foreground.put(table), foreground.owners)
    return parts


def highest_of(parts: Tensor, values: Tensor, count: int) -> Tensor:
    """(count,) largest of (n,) values over each part, -inf where it has no pixel. Pixels of (n,)
    int64 parts of ``count`` belong to none."""
    highest = values.new_full((count + 1,), -torch.inf)
    return highest.scatter_reduce_(0, parts, values, "amax")[:count]


def first_with(parts: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """(M,) the first of the pixels of each part that has the (M,) value wanted there; the last of
    all where none has."""
    last, count = len(parts) - 1, len(wanted)
    number = torch.arange(last + 1, dtype=torch.int32, device=parts.device)
    spread = torch.nn.functional.pad(wanted, (0, 1)).index_select(0, parts)
    number.masked_fill_(values != spread, last)
    first = number.new_full((count + 1,), last)
    return first.scatter_reduce_(0, parts, number, "amin")[:count]


def sums_of(parts: Tensor, values: Tensor, count: int) -> Tensor:
    """(count,) float64 sum of (n,) values, or n times one value, over each part."""
    sums = torch.zeros(count + 1, dtype=torch.float64, device=parts.device)
    return sums.index_add_(0, parts, values.double().expand(parts.shape))[:count]
