"""What a network's maps say at the pixels of some regions: all that grouping needs of them.

The regions are known to the host, the maps may lie on another device; only the values at the
regions' pixels travel. The number of operations does not depend on the number of regions. Maps in
host memory are read by NumPy: operations that PyTorch shares between threads wait for the slowest,
which costs more than they take where a loader's workers use the same processor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.regions import Regions
from bestie_d2.structures import IGNORE_INDEX, wsss_index

Values = np.ndarray | Tensor  # NumPy in host memory, a tensor elsewhere


def in_host_memory(tensor: Tensor) -> bool:
    """Whether NumPy can work on a tensor."""
    return tensor.device.type == "cpu"


def fetch(tensor: Tensor) -> np.ndarray:
    """A tensor on the host: the one place that waits for a device."""
    return tensor.cpu().numpy()


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array on a device, without waiting for it."""
    return torch.from_numpy(array).to(device, non_blocking=True)


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


class Places(NamedTuple):
    """(n,) int64 of each pixel of some regions, where the maps are."""

    index: Values
    rows: Values
    columns: Values

    def inside(self, maps: Tensor) -> Values:
        """(n,) int64 place of each pixel in the first of (K, H, W) maps, see :func:`_flat`."""
        _, down, right = maps.stride()
        return self.rows * down + self.columns * right


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


def labels_on_host(weak_sem_seg: Tensor, image_classes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(B, H, W) WSSS indices as uint8 and (B, C) bool tags on the host, in one transfer."""
    if in_host_memory(weak_sem_seg):
        return weak_sem_seg.numpy().astype(np.uint8), image_classes.cpu().numpy()
    tags = image_classes.to(weak_sem_seg.device, torch.uint8)
    packed = fetch(torch.cat([weak_sem_seg.to(torch.uint8).flatten(1), tags], dim=1))
    pixels = packed.shape[1] - tags.shape[1]
    index_maps = packed[:, :pixels].reshape(weak_sem_seg.shape)
    return index_maps, packed[:, pixels:].astype(bool)


def places_of(regions: Regions, maps: Tensor) -> Places:
    """Where the regions' pixels are and what value the regions have, for reading maps."""
    index = np.repeat(regions.values, regions.areas).astype(np.int64)
    places = Places(index, regions.rows, regions.columns)
    if in_host_memory(maps):
        return places
    return Places(*(to_device(column, maps.device) for column in places))


def _flat(maps: Tensor) -> Values:
    """The memory of maps of any strides in one row, in float32 if it is the host's."""
    if in_host_memory(maps):
        maps = maps.float()
    span = 1 + sum((size - 1) * step for size, step in zip(maps.shape, maps.stride(), strict=True))
    flat = maps.as_strided((span,), (1,))
    return flat.numpy() if in_host_memory(maps) else flat


def values_at(maps: Tensor, channel: Values | int, places: Places) -> Values:
    """(n,) values of (K, H, W) maps, each pixel's from the channel that is given for it."""
    return _flat(maps)[places.inside(maps) + channel * maps.stride(0)]


def softmax_at(logits: Tensor, places: Places) -> Values:
    """(n,) float32 softmax probability of each pixel's own index, from (C+1, H, W) logits."""
    if not in_host_memory(logits):
        return _softmax_on_device(logits, places)
    flat, pixels, step = _flat(logits), places.inside(logits), logits.stride(0)
    own = flat[pixels + places.index * step]
    total = np.zeros_like(own)
    with np.errstate(over="ignore"):  # beyond float32 the probability is 0, as it comes out
        for start in range(0, len(logits) * step, step):
            ratios = flat[start:][pixels]
            ratios -= own
            total += np.exp(ratios, out=ratios)
    return 1 / total


def _softmax_on_device(logits: Tensor, places: Places) -> Tensor:
    """The same in a few operations on all channels at once."""
    channels = torch.arange(len(logits), device=logits.device)[:, None]
    scores = values_at(logits, channels, places).float()
    return (scores - scores.gather(0, places.index[None])).exp_().sum(dim=0).reciprocal_()


def offsets_at(offset: Tensor, places: Places) -> tuple[Values, Values]:
    """(n,) y and (n,) x of a (2, H, W) offset map."""
    return values_at(offset, 0, places), values_at(offset, 1, places)


def evidence_at(probability: Values, center: Tensor, offset: Tensor, places: Places) -> Evidence:
    """Evidence where the maps are.

    Args:
        probability: (n,) of each pixel's own class.
        center: (C, H, W).
        offset: (2, H, W).
    """
    own_center = values_at(center, places.index - wsss_index(0), places)
    return Evidence(probability, own_center, *offsets_at(offset, places))


def on_host(images: list[tuple[Values, ...]]) -> list[tuple[np.ndarray, ...]]:
    """Columns of (n,) values, so many for each image, in host memory, in one transfer."""
    if isinstance(images[0][0], np.ndarray):
        return images
    sizes = [len(columns[0]) for columns in images]
    rows = [torch.stack([column.float() for column in columns]) for columns in images]
    packed = fetch(torch.cat(rows, dim=1))
    return [tuple(part) for part in np.split(packed, np.cumsum(sizes)[:-1], axis=1)]
