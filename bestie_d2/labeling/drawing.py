"""Drawing instances into center, offset and weight maps.

Everything is drawn at once where the targets are; another device only gets the instances' pixels.
The number of operations does not depend on the number of instances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.evidence import in_host_memory, to_device
from bestie_d2.ops.heatmap import draw_gaussians
from bestie_d2.structures import InstanceTargets


def zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A float32 map of zeros, of which a processor touches only the pages that are written."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, dtype=np.float32))  # torch.zeros writes them all
    return torch.zeros(shape, device=device)


def empty_targets(*shape: int, device: torch.device | str = "cpu") -> InstanceTargets:
    """All-zero targets of a (..., C, H, W) center map."""
    *leading, _, height, width = shape
    shapes = (shape, (*leading, 2, height, width), (*leading, height, width))
    return InstanceTargets(*(zeros(shape, torch.device(device)) for shape in shapes))


@dataclass(frozen=True)
class DrawnInstances:
    """``N`` instances of one image that cover ``m`` pixels, each of one instance.

    Attributes:
        rows, columns: (m,) int64.
        owners: (m,) int64 instance ``0..N-1`` of each pixel.
        centers: (N, 2) float64 (y, x) that the offsets lead to.
        weights: (N,) in [0, 1].
    """

    rows: np.ndarray
    columns: np.ndarray
    owners: np.ndarray
    centers: np.ndarray
    weights: np.ndarray

    def guide(self, offset: Tensor, weight: Tensor) -> None:
        """Point the pixels at their centers, (2, H, W), and give them their weight, (H, W)."""
        pixels = self.rows * offset.shape[-1] + self.columns
        y, x = self.centers.T[:, self.owners]
        put(offset[0], pixels, y - self.rows)
        put(offset[1], pixels, x - self.columns)
        put(weight, pixels, self.weights[self.owners])


def put(target: Tensor, pixels: np.ndarray, values: np.ndarray) -> None:
    """Write (m,) values at flat indices of a contiguous float32 map on any device."""
    if in_host_memory(target):
        target.numpy().reshape(-1)[pixels] = values
        return
    device = target.device
    values = to_device(values.astype(np.float32), device)
    target.view(-1).index_copy_(0, to_device(pixels, device), values)


def draw_centers(center: Tensor, classes: np.ndarray, yx: np.ndarray, sigma: float) -> None:
    """Draw a Gaussian into a (C, H, W) map at the pixel that each of (M, 2) points lies in."""
    pixels = np.floor(yx).astype(np.int64).reshape(-1, 2)
    device = center.device
    draw_gaussians(center, to_device(classes, device), to_device(pixels, device), sigma)
