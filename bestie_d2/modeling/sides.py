"""Sides of images that a backbone takes; HRNet's branches fit each other at some only."""

from __future__ import annotations

import math

from detectron2.modeling import Backbone
from torch import Tensor

from bestie_d2.errors import InputError
from bestie_d2.modeling.layers import upsample


def step_of(backbone: Backbone) -> int:
    """What the sides of images have to be multiples of, in pixels; 1 where all do."""
    return max(backbone.size_divisibility, 1)  # Detectron2 says 0 for these


def check_side(key: str, side: int, backbone: Backbone) -> None:
    """Refuse a side that is no multiple of what the backbone takes.

    Args:
        key: of the configuration, that the side comes from.

    Raises:
        InputError: names the key and what fits.
    """
    step = step_of(backbone)
    if side % step:
        below, above = side // step * step, -(-side // step) * step
        fitting = f"{below} or {above}" if below else above
        raise InputError(
            f"{key} is {side}, but {type(backbone).__name__} takes images with sides that are "
            f"multiples of {step}: set it to {fitting}"
        )


def check_crops(key: str, images: Tensor, backbone: Backbone) -> None:
    """Refuse (B, 3, H, W) training crops of sides that the backbone does not take."""
    for side in images.shape[-2:]:
        check_side(key, side, backbone)


def with_sides_of_multiples(images: Tensor, step: int) -> Tensor:
    """(B, K, H, W) images, resized up to the next multiples of ``step`` pixels."""
    size = tuple(math.ceil(side / step) * step for side in images.shape[-2:])
    return images if size == images.shape[-2:] else upsample(images, size, align_corners=False)
