"""The data that passes between the parts, and every convention, stated once.

Coordinates
    Points and offsets are ``(y, x)``, in pixels of the map they lie on. An integer coordinate is a
    pixel's index (its center, not its corner). ``(x, y)`` exists only in files and is turned around
    by the reader.
Classes
    ``0..C-1`` in memory. A *WSSS index*, found only in weak semantic maps, is ``class + 1``, with
    ``0`` for background and ``255`` (``IGNORE_INDEX``) for pixels that nothing is known of.
Zero instances
    An ordinary case everywhere: empty cues, all-zero targets, empty predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BACKGROUND_INDEX = 0
IGNORE_INDEX = 255


def wsss_index(classes: Tensor | int) -> Tensor | int:
    """Class ids ``0..C-1`` as WSSS indices ``1..C``."""
    return classes + 1


@dataclass
class PointCues:
    """Instance cues of one image: one point per (supposed) object.

    Attributes:
        yx: (N, 2) float, in pixels of the image they lie on.
        classes: (N,) int64 in ``0..C-1``.
        scores: (N,) float; 1 for points given by a person.
    """

    yx: Tensor
    classes: Tensor
    scores: Tensor

    def __post_init__(self) -> None:
        count = len(self.yx)
        if self.yx.shape != (count, 2) or len(self.classes) != count or len(self.scores) != count:
            raise ValueError(
                f"PointCues need (N, 2), (N,) and (N,) tensors, got {tuple(self.yx.shape)}, "
                f"{tuple(self.classes.shape)} and {tuple(self.scores.shape)}"
            )

    def __len__(self) -> int:
        return len(self.yx)

    def pixels(self) -> list[tuple[int, int]]:
        """The pixel (y, x) that each cue lies on: the one with the nearest center."""
        return [(y, x) for y, x in (self.yx + 0.5).floor().int().tolist()]

    def __getitem__(self, index: Tensor | slice) -> PointCues:
        """The cues that a mask, an index tensor or a slice picks."""
        return PointCues(self.yx[index], self.classes[index], self.scores[index])

    def to(self, device: torch.device | str) -> PointCues:
        return PointCues(self.yx.to(device), self.classes.to(device), self.scores.to(device))

    @staticmethod
    def empty(device: torch.device | str = "cpu") -> PointCues:
        return PointCues(
            torch.zeros(0, 2, device=device),
            torch.zeros(0, dtype=torch.int64, device=device),
            torch.zeros(0, device=device),
        )


@dataclass(frozen=True)
class PseudoLabels:
    """The labeled instances of one image, from which ``InstanceTargets`` are drawn.

    It lives in host memory and is small whatever the number of classes: it is what loading workers
    send.

    Attributes:
        instance_map: (H, W) int32, ``n`` on the pixels of instance ``n - 1``, 0 elsewhere.
        centers: (N, 2) float (y, x) that the instances' offsets lead to.
        weights: (N,) float in [0, 1].
        peaks: (M, 2) int64 (y, x) pixels that Gaussians are drawn at, inside the map or not.
        peak_classes: (M,) int64 in ``0..C-1``.
    """

    instance_map: np.ndarray
    centers: np.ndarray
    weights: np.ndarray
    peaks: np.ndarray
    peak_classes: np.ndarray


@dataclass
class InstanceTargets:
    """What the center and offset branches are guided by; leading batch dimensions are allowed.

    Attributes:
        center: (..., C, H, W) float in [0, 1], class-wise center map; None where only offsets
            are known (refinement from given points).
        offset: (..., 2, H, W) float, from each pixel to the center of its instance, (y, x) pixels.
        weight: (..., H, W) float in [0, 1]; 0 = no guidance there (the instance-aware guidance).
    """

    center: Tensor | None
    offset: Tensor
    weight: Tensor

    def __getitem__(self, image: int) -> InstanceTargets:
        """The targets of one image of a batch."""
        center = None if self.center is None else self.center[image]
        return InstanceTargets(center, self.offset[image], self.weight[image])

    def to(self, device: torch.device | str) -> InstanceTargets:
        center = None if self.center is None else self.center.to(device)
        return InstanceTargets(center, self.offset.to(device), self.weight.to(device))
