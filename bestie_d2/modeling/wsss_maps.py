"""From probabilities to weak semantic maps.

Legend: ``C`` classes, ``H, W`` the map. Channel 0 of a probability map is the background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bestie_d2.modeling.layers import upsample
from bestie_d2.structures import BACKGROUND_INDEX, wsss_index


def mean_over_views(
    probabilities: Callable[[Tensor], Tensor],
    images: Tensor,
    size: tuple[int, int],
    *,
    scales: Sequence[float],
    size_divisibility: int,
    flip: bool,
) -> Tensor:
    """What a network says of images seen at several sizes, and in the mirror.

    Args:
        probabilities: (B, 3, h, w) images -> (B, C+1, any size).
        images: (B, 3, h, w).
        size: (H, W) of the result.
        scales: multiples of the images' size ...
        size_divisibility: ... with sides rounded to a multiple of this.
        flip: see the mirror images as well.

    Returns:
        (B, C+1, H, W), the mean.
    """
    step = size_divisibility
    total, count = 0, 0  # summed as they come: at full size, a view of many classes is large
    for scale in scales:
        seen_size = tuple(max(round(n * scale / step), 1) * step for n in images.shape[-2:])
        seen = upsample(images, seen_size, align_corners=False)
        total = total + upsample(probabilities(seen), size, align_corners=False)
        count += 1
        if flip:
            mirrored = probabilities(seen.flip(-1)).flip(-1)
            total += upsample(mirrored, size, align_corners=False)
            count += 1
    return total / count


def normalized(masks: Tensor) -> Tensor:
    """(B, K, H, W) masks, divided by their sum over K."""
    return masks / masks.sum(dim=1, keepdim=True).clamp(min=torch.finfo(masks.dtype).tiny)


def possible_indices(image_classes: Tensor | Sequence[int]) -> list[int]:
    """Indices of the background and of the classes that an image is tagged with.

    Args:
        image_classes: (C,) bool, or class ids ``0..C-1``.
    """
    if isinstance(image_classes, Tensor):
        image_classes = image_classes.nonzero().flatten().tolist()
    return [BACKGROUND_INDEX, *(wsss_index(class_id) for class_id in image_classes)]


def suppress_background(masks: Tensor, power: float) -> Tensor:
    """(B, K, H, W) probabilities, the background's (the first) to a power; they sum to 1."""
    background, classes = masks[:, :1], masks[:, 1:]
    return normalized(torch.cat([background**power, classes], dim=1))
