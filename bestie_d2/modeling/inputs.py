"""Images before the network sees them: their values, and the sides that a backbone takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from detectron2.modeling import Backbone
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.modeling.layers import upsample


class NormalizedInput(nn.Module):
    """A model that normalizes images on its device; mean and deviation are of values in 0..255."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, pixel_mean: list[float], pixel_std: list[float]) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def normalize(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..255 -> zero mean, unit deviation, on the model's device."""
        return (images.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std


def step_of(backbone: Backbone) -> int:
    """What the sides of images have to be multiples of, in pixels; 1 where all do."""
    return max(backbone.size_divisibility, 1)  # Detectron2 says 0 for these


def check_side(key: str, side: int, backbone: Backbone) -> None:
    """Refuse a side, from this key, that is no multiple of what the backbone takes."""
    step = step_of(backbone)
    if side % step:
        below, above = side // step * step, -(-side // step) * step
        name = getattr(backbone, "name", type(backbone).__name__)
        raise InputError(
            f"{key} is {side}, but {name} takes images with sides that are multiples of {step}: "
            f"set it to {f'{below} or {above}' if below else above}"
        )


def check_scales(key: str, scales: Sequence[float]) -> None:
    """Refuse multiples of an image's size, from this key, that leave nothing to see."""
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise InputError(f"{key} is {tuple(scales)}: expected numbers above 0, at least one")


def check_crops(key: str, images: Tensor, backbone: Backbone) -> None:
    """Refuse (B, 3, H, W) training crops of sides that the backbone does not take."""
    for side in images.shape[-2:]:
        check_side(key, side, backbone)


def sides_of_multiples(size: Sequence[int], step: int) -> tuple[int, int]:
    """A (height, width), rounded up to multiples of ``step`` pixels."""
    height, width = ((side + step - 1) // step * step for side in size)
    return height, width


def with_sides_of_multiples(images: Tensor, step: int) -> Tensor:
    """(B, K, H, W) images, resized up to the next multiples of ``step`` pixels."""
    size = sides_of_multiples(images.shape[-2:], step)
    return images if size == tuple(images.shape[-2:]) else upsample(images, size)
