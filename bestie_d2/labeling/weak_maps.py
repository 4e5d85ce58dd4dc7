"""From probabilities or class activation maps to weak semantic maps.

Legend: ``C`` classes, ``H, W`` the map. Index maps hold WSSS indices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.cues import activation_maps
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, wsss_index


def to_index_map(sem_seg: Tensor, min_margin: float = 0.0) -> Tensor:
    """Probabilities as a weak map.

    Args:
        sem_seg: (C+1, H, W) probabilities, channel 0 the background.
        min_margin: pixels whose two most probable indices are closer than this become 255.

    Returns:
        (H, W) uint8.
    """
    (first, second), order = sem_seg.topk(2, dim=0)
    unsure = first - second < min_margin
    return order[0].masked_fill(unsure, IGNORE_INDEX).to(torch.uint8)


def cams_to_index_map(
    cams: Tensor, image_classes: Sequence[int], size: tuple[int, int], threshold: float
) -> np.ndarray:
    """Thresholded class activation maps as a weak map.

    Args:
        cams: (C, h, w) before any ReLU.
        image_classes: class ids of the image's tags; other classes are out.
        size: (H, W) of the weak map.
        threshold: a pixel belongs to its strongest class if that reaches this share of the class's
            peak, else to the background.

    Returns:
        (H, W) uint8.
    """
    classes = list(image_classes)
    if not classes:
        return np.full(size, BACKGROUND_INDEX, np.uint8)
    strength, strongest = activation_maps(cams[classes], size).max(dim=0)
    indices = torch.tensor([wsss_index(class_id) for class_id in classes], device=cams.device)
    found = torch.where(strength >= threshold, indices[strongest], BACKGROUND_INDEX)
    return found.to(torch.uint8).cpu().numpy()
