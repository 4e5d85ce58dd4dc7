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
from typing import Any

import numpy as np
import torch
from torch import Tensor

BACKGROUND_INDEX = 0
IGNORE_INDEX = 255
NOWHERE = -1  # the component of a pixel that belongs to none


def wsss_index(classes: Any) -> Any:
    """Class ids ``0..C-1``, a number, an array or a tensor, as WSSS indices ``1..C``."""
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

    def __reduce__(self) -> tuple:
        """Pickled as arrays: each record of a set has one, and tensors take ten times as long."""
        columns = (self.yx, self.classes, self.scores)
        return _from_arrays, tuple(column.cpu().numpy() for column in columns)

    @staticmethod
    def empty(device: torch.device | str = "cpu") -> PointCues:
        return PointCues(
            torch.zeros(0, 2, device=device),
            torch.zeros(0, dtype=torch.int64, device=device),
            torch.zeros(0, device=device),
        )


def _from_arrays(*columns: np.ndarray) -> PointCues:
    return PointCues(*map(torch.from_numpy, columns))


@dataclass(frozen=True)
class Components:
    """``K`` regions of a (H, W) map that cover ``n`` pixels; arrays in host memory.

    Attributes:
        pixels: (n,) int32 flat indices into the map, ascending.
        owners: (n,) int32, the component ``0..K-1`` of each pixel.
        classes: (K,) int64 in ``0..C-1``.
        areas: (K,) int64 number of pixels.
        boxes: (K, 4) int64 of top, left, height and width.
        shape: (H, W).
    """

    pixels: np.ndarray
    owners: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.classes)

    def centroids(self) -> np.ndarray:
        """(K, 2) float64 mean (y, x) of each."""
        axes = np.divmod(self.pixels, self.shape[1])
        sums = [np.bincount(self.owners, axis, minlength=len(self)) for axis in axes]
        return np.stack(sums, axis=1) / self.areas[:, None]

    def at(self, yx: np.ndarray) -> np.ndarray:
        """(m,) component that each (m, 2) int pixel lies on, ``NOWHERE`` where there is none."""
        inside = ((yx >= 0) & (yx < self.shape)).all(axis=1)
        if len(self.pixels) == 0:
            return np.full(len(yx), NOWHERE)
        wanted = yx @ (self.shape[1], 1)
        index = np.searchsorted(self.pixels, wanted).clip(max=len(self.pixels) - 1)
        return np.where(inside & (self.pixels[index] == wanted), self.owners[index], NOWHERE)

    def holders(self, cues: PointCues) -> np.ndarray:
        """(N,) the component of its class that each cue lies on; ``NOWHERE`` if there is none."""
        hit = self.at(np.array(cues.pixels(), dtype=np.int64).reshape(-1, 2))
        inside = np.flatnonzero(hit != NOWHERE)
        others = inside[self.classes[hit[inside]] != cues.classes.cpu().numpy()[inside]]
        hit[others] = NOWHERE
        return hit

    def count_cues(self, cues: PointCues) -> np.ndarray:
        """(K,) how many cues of its class each component holds; with exactly one it is taken for
        an instance."""
        holders = self.holders(cues)
        return np.bincount(holders[holders != NOWHERE], minlength=len(self))

    def union(self) -> np.ndarray:
        """(H, W) bool: pixels of any component."""
        union = np.zeros(self.shape, dtype=bool)
        union.reshape(-1)[self.pixels] = True
        return union

    def masks(self) -> np.ndarray:
        """(K, H, W) bool."""
        masks = np.zeros((len(self), *self.shape), dtype=bool)
        masks.reshape(len(self), self.shape[0] * self.shape[1])[self.owners, self.pixels] = True
        return masks


@dataclass(frozen=True)
class PseudoLabels:
    """The labeled instances of one image, from which ``InstanceTargets`` are drawn.

    It lives in host memory and is small whatever the number of classes: it is what loading workers
    send.

    Attributes:
        components: the ``K`` regions that may be instances.
        centers: (K, 2) float64 (y, x) that their offsets lead to.
        weights: (K,) float64 in [0, 1]; 0 = no instance.
        peaks: (M, 2) int64 (y, x) pixels that Gaussians are drawn at, inside the map or not.
        peak_classes: (M,) int64 in ``0..C-1``.
        scales: (M,) float64 sigma of each Gaussian, in pixels.
    """

    components: Components
    centers: np.ndarray
    weights: np.ndarray
    peaks: np.ndarray
    peak_classes: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True)
class ObjectMask:
    """One found object; no more of its mask is kept than its crop.

    Attributes:
        class_id: ``0..C-1``.
        score: in [0, 1].
        top_left: (y, x) pixel of the image that the crop's first pixel lies on.
        mask: (h, w) bool, the crop; all of it lies in the image.
    """

    class_id: int
    score: float
    top_left: tuple[int, int]
    mask: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the image that the crop is of."""
        (top, left), (height, width) = self.top_left, self.mask.shape
        return slice(top, top + height), slice(left, left + width)


@dataclass(frozen=True)
class LabeledImage:
    """What was found in one picture.

    Attributes:
        file_name: relative to the input's root, ``/`` between folders.
        image_path: where the file is.
        height, width: of the picture as it is looked at (turned as its EXIF says), in pixels.
        objects: may share pixels; none is an ordinary case.
    """

    file_name: str
    image_path: str
    height: int
    width: int
    objects: list[ObjectMask]


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
