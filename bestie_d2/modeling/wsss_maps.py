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
    views = []
    step = size_divisibility
    for scale in scales:
        seen_size = tuple(max(round(n * scale / step), 1) * step for n in images.shape[-2:])
        seen = upsample(images, seen_size, align_corners=False)
        views.append(upsample(probabilities(seen), size, align_corners=False))
        if flip:
            mirrored = probabilities(seen.flip(-1)).flip(-1)
            views.append(upsample(mirrored, size, align_corners=False))
    return torch.stack(views).mean(dim=0)


def _normalized(masks: Tensor) -> Tensor:
    return masks / masks.sum(dim=1, keepdim=True).clamp(min=torch.finfo(masks.dtype).tiny)


def clean_by_tags(masks: Tensor, image_classes: Tensor | Sequence[int]) -> Tensor:
    """Remove every class that the image is known not to show.

    Args:
        masks: (1, C+1, H, W) probabilities.
        image_classes: (C,) bool, or class ids ``0..C-1``.

    Returns:
        (1, C+1, H, W) probabilities.
    """
    allowed = torch.zeros(masks.shape[1], dtype=torch.bool, device=masks.device)
    allowed[BACKGROUND_INDEX] = True
    if isinstance(image_classes, Tensor):
        allowed[1:] = image_classes.to(masks.device)
    else:
        allowed[[wsss_index(class_id) for class_id in image_classes]] = True
    return _normalized(masks * allowed[:, None, None])


def suppress_background(masks: Tensor, power: float) -> Tensor:
    """(B, C+1, H, W) probabilities with the background's raised to a power, and summing to 1."""
    background, classes = masks[:, :1], masks[:, 1:]
    return _normalized(torch.cat([background**power, classes], dim=1))
