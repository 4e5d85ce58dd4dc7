"""From a classifier's class activation maps to instance cues, one image at a time.

``K`` classes that the image is tagged with, ``h, w`` the classifier's map, ``H, W`` the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bestie_d2.ops.heatmap import find_peaks
from bestie_d2.structures import PointCues

EPSILON = 1e-5  # added to a map's maximum before dividing by it, as in the released recipe


def activation_maps(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """Activations between 0 and 1 at the image's size; each class's peak is just below 1.

    Args:
        raw: (K, h, w) float, class activation maps before any ReLU, of the tagged classes alone: a
            map is divided by its own maximum, so that of an absent class would peak as high.
        size: (H, W) of the image, in pixels.

    Returns:
        (K, H, W) float in [0, 1), on the device of ``raw``; all 0 where a class is nowhere above 0.
    """
    if len(raw) == 0:
        return raw.new_zeros(0, *size)
    maps = F.interpolate(raw.relu()[None], size=size, mode="bilinear", align_corners=False)[0]
    return maps.div_(maps.amax(dim=(-2, -1), keepdim=True) + EPSILON)


def extract_cues(
    maps: Tensor,
    class_ids: Sequence[int],
    *,
    smoothing: int = 3,
    kernel: int = 15,
    min_score: float = 0.1,
    max_per_class: int = 25,
) -> PointCues:
    """The local maxima of smoothed activation maps (paper: Section 3.2; released recipe).

    Args:
        maps: (K, H, W) float, as :func:`activation_maps` returns them, on any device.
        class_ids: (K,) class ``0..C-1`` of each map.
        smoothing: odd side of the mean filter, in pixels; 1 leaves the maps as they are. Beyond the
            border, the border's own pixels go on.
        kernel: odd side of the window in which a cue is the largest, in pixels.
        min_score: smallest score of a cue, above 0.
        max_per_class: at most so many of a class, the highest.

    Returns:
        Cues at whole pixels of the image, in the order of ``class_ids``, then by falling score, on
        the host. Scores are the smoothed values.
    """
    if len(maps) == 0:
        return PointCues.empty()
    host = maps.detach().float().cpu().numpy()
    size, border = (smoothing, smoothing), cv2.BORDER_REPLICATE
    smoothed = np.stack([cv2.blur(channel, size, borderType=border) for channel in host])
    peaks = find_peaks(
        torch.from_numpy(smoothed), kernel=kernel, threshold=min_score, max_per_class=max_per_class
    )
    return PointCues(peaks.yx, torch.as_tensor(class_ids)[peaks.classes], peaks.scores)
