"""Drawing labeled instances into center, offset and weight maps.

They are drawn where they are wanted: another device only gets the instance maps and some tables,
draws a batch at once, and needs as many operations for many instances as for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.devices import in_host_memory, to_device
from bestie_d2.ops.heatmap import draw_gaussians
from bestie_d2.structures import InstanceTargets, PseudoLabels


def draw_targets(
    labels: Sequence[PseudoLabels],
    *,
    num_classes: int,
    sigma: float,
    device: torch.device | str = "cpu",
) -> InstanceTargets:
    """The targets of a batch of equally sized images.

    Args:
        num_classes: C.
        sigma: of the Gaussian around a center, in pixels.

    Returns:
        Batched targets (B, C, H, W), (B, 2, H, W) and (B, H, W) on ``device``.
    """
    device = torch.device(device)
    offset, weight = draw_offsets(labels, device)
    images, *size = weight.shape
    center = zeros((images, num_classes, *size), device)
    channels = [own.peak_classes + number * num_classes for number, own in enumerate(labels)]
    peaks = np.concatenate([own.peaks for own in labels])
    draw_gaussians(center.view(-1, *size), np.concatenate(channels), peaks, sigma)
    return InstanceTargets(center, offset, weight)


def draw_offsets(labels: Sequence[PseudoLabels], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, 2, H, W) from each pixel to its instance's center, and (B, H, W) its weight; elsewhere
    0."""
    maps = np.stack([own.instance_map for own in labels])
    tables = _tables(labels)
    if in_host_memory(device):
        return _look_up_on_host(maps, tables)
    return _look_up_on_device(to_device(maps, device), to_device(tables, device))


def _look_up_on_host(maps: np.ndarray, tables: np.ndarray) -> tuple[Tensor, Tensor]:
    """Image by image, without PyTorch."""
    images, height, width = maps.shape
    offset = np.zeros((images, 2, height, width), dtype=np.float32)
    weight = np.empty(maps.shape, dtype=np.float32)
    places = (np.arange(height)[:, None], np.arange(width))
    for number, slot in enumerate(maps.astype(np.intp)):
        inside = slot > 0
        for axis, place in enumerate(places):
            own_center = tables[axis, number].take(slot)
            np.subtract(own_center, place, out=offset[number, axis], where=inside)
        tables[-1, number].take(slot, out=weight[number], mode="clip")  # unbuffered
    return torch.from_numpy(offset), torch.from_numpy(weight)


def _look_up_on_device(maps: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
    """All images at once."""
    images, height, width = maps.shape
    device = maps.device
    first = torch.arange(images, device=device, dtype=torch.int32) * tables.shape[-1]
    slot = (maps + first[:, None, None]).view(-1)
    y, x, weight = (table.index_select(0, slot).view(maps.shape) for table in tables.flatten(1))
    y -= torch.arange(height, device=device)[:, None]
    x -= torch.arange(width, device=device)
    return torch.stack([y, x], dim=1) * (maps > 0)[:, None], weight


def _tables(labels: Sequence[PseudoLabels]) -> np.ndarray:
    """(3, B, N+1) float32 y, x and weight by the instance map's value, for the most instances that
    an image has."""
    tables = np.zeros((3, len(labels), 1 + max(len(own.weights) for own in labels)), np.float32)
    for number, own in enumerate(labels):
        filled = slice(1, 1 + len(own.weights))
        tables[:2, number, filled] = own.centers.T
        tables[2, number, filled] = own.weights
    return tables


def zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A float32 map of zeros."""
    if in_host_memory(device):
        return torch.from_numpy(np.zeros(shape, dtype=np.float32))
    return torch.zeros(shape, device=device)
