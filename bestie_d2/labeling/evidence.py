"""What a network's maps say at the pixels of some regions: all that grouping needs of them.

The regions are known to the host, the maps may lie on another device; only the values at the
regions' pixels travel. The number of operations does not depend on the number of regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.devices import fetch, in_host_memory, to_device
from bestie_d2.ops.regions import Regions
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, wsss_index

Values = np.ndarray | Tensor  # NumPy in host memory, a tensor elsewhere


class Evidence(NamedTuple):
    """(n,) float32 at each pixel of some regions, in their order.

    Attributes:
        probability: of the region's class.
        center: value of that class's center map.
        offset_y, offset_x: in pixels.
    """

    probability: Values
    center: Values
    offset_y: Values
    offset_x: Values


# -- on the way to the host


def labels_on_host(weak_sem_seg: Tensor, image_classes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(B, H, W) WSSS indices as uint8 and (B, C) bool tags on the host, in one transfer."""
    if in_host_memory(weak_sem_seg.device):
        return weak_sem_seg.to(torch.uint8).numpy(), image_classes.cpu().numpy()
    tags = image_classes.to(weak_sem_seg.device, torch.uint8)
    packed = fetch(torch.cat([weak_sem_seg.to(torch.uint8).flatten(1), tags], dim=1))
    pixels = packed.shape[1] - tags.shape[1]
    index_maps = packed[:, :pixels].reshape(weak_sem_seg.shape)
    return index_maps, packed[:, pixels:].astype(bool)


def on_host(images: Sequence[tuple[Values, ...]]) -> Sequence[tuple[np.ndarray, ...]]:
    """Columns of (n,) values, so many for each image, in host memory, in one transfer."""
    if isinstance(images[0][0], np.ndarray):
        return images
    sizes = [len(columns[0]) for columns in images]
    rows = [torch.stack([column.float() for column in columns]) for columns in images]
    packed = fetch(torch.cat(rows, dim=1))
    return [tuple(part) for part in np.split(packed, np.cumsum(sizes)[:-1], axis=1)]


# -- which values of a map of WSSS indices count


def classes_wanted(num_classes: int) -> np.ndarray:
    """(256,) bool: which WSSS indices are classes."""
    wanted = np.zeros(IGNORE_INDEX + 1, dtype=bool)
    wanted[wsss_index(0) : wsss_index(num_classes)] = True
    return wanted


def tagged_indices(tags: np.ndarray) -> np.ndarray:
    """(256,) bool: which WSSS indices are classes that (C,) bool tags name."""
    wanted = classes_wanted(len(tags))
    wanted[wsss_index(0) : wsss_index(len(tags))] = tags
    return wanted


# -- reading (K, H, W) maps at the pixels of some regions


class HostReader:
    """Reads maps in host memory."""

    def __init__(self, regions: Regions) -> None:
        self.regions = regions

    def own_channel(self, maps: Tensor, first: int) -> np.ndarray:
        """(n,) values, each from the channel of its region's value; ``first`` is channel 0's."""
        channels, pixels = _channels(maps), self.regions.pixels
        own = np.empty(len(pixels), dtype=np.float32)
        for value, part in self._values():
            # "clip", or NumPy would write to a buffer first; no index is out of range
            channels[value - first].take(pixels[part], out=own[part], mode="clip")
        return own

    def _values(self) -> Iterator[tuple[int, slice]]:
        """Each value that there are regions of, and their places, which lie side by side."""
        values, first = np.unique(self.regions.values, return_index=True)
        bounds = self.regions.edges[[*first, len(self.regions)]].tolist()
        for value, bound in zip(values.tolist(), pairwise(bounds), strict=True):
            yield value, slice(*bound)

    def softmax(self, logits: Tensor) -> np.ndarray:
        """(n,) probability of each region's own value, from (C+1, H, W) logits.

        Channels are read in raster order, in which a mask picks whole runs of pixels.
        """
        own = self.own_channel(logits, BACKGROUND_INDEX)
        ranks = self.regions.raster_ranks
        reference = np.empty_like(own)
        reference[ranks] = own
        mask = self.regions.paint(np.ones(len(self.regions), dtype=bool), False).ravel()
        total = np.zeros_like(own)
        with np.errstate(over="ignore"):  # beyond float32 the probability is 0, as it comes out
            for channel in _channels(logits):
                ratios = channel[mask]
                ratios -= reference
                total += np.exp(ratios, out=ratios)
        return 1 / total[ranks]

    def offsets(self, offset: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(n,) y and (n,) x of a (2, H, W) offset map."""
        y, x = (channel.take(self.regions.pixels) for channel in _channels(offset))
        return y, x


class DeviceReader:
    """Reads maps on a device, all channels at once in a few operations, and leaves there what it
    reads. Methods as of :class:`HostReader`."""

    def __init__(self, regions: Regions, device: torch.device) -> None:
        values = np.repeat(regions.values.astype(np.uint8), regions.areas)
        pixels = to_device(regions.pixels.astype(np.int32), device).long()
        self.values = to_device(values, device).long()
        self.rows, self.columns = pixels // regions.shape[1], pixels % regions.shape[1]

    def own_channel(self, maps: Tensor, first: int) -> Tensor:
        return maps[self.values - first, self.rows, self.columns]

    def softmax(self, logits: Tensor) -> Tensor:
        scores = logits[:, self.rows, self.columns].float()
        ratios = scores - scores.gather(0, self.values[None])
        return ratios.exp_().sum(dim=0).reciprocal_()

    def offsets(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        y, x = offset[:, self.rows, self.columns]
        return y, x


def reader_of(regions: Regions, maps: Tensor) -> HostReader | DeviceReader:
    """What reads maps that lie where these do."""
    return (
        HostReader(regions) if in_host_memory(maps.device) else DeviceReader(regions, maps.device)
    )


def _channels(maps: Tensor) -> np.ndarray:
    """(K, H * W) float32 of maps in host memory; copied only if they are otherwise."""
    return maps.float().contiguous().view(len(maps), -1).numpy()
