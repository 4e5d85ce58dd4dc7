"""Losses under instance-aware guidance (paper: Section 3.4, Eq. 3 to 5, Listing 6)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bestie_d2.structures import IGNORE_INDEX


def _guided_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of a (..., K, H, W) error over the number of pixels with guidance; 0, with a
    gradient of 0, where nothing is guided."""
    guided = (weight > 0).sum().clamp(min=1)
    return (error * weight.unsqueeze(-3)).sum() / guided


def weighted_mse(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Guided squared error of center maps (paper: Eq. 3).

    Args:
        pred, target: (..., C, H, W).
        weight: (..., H, W) in [0, 1]; every class channel of a guided pixel counts.

    Returns:
        Scalar: sum of weight x squared error / number of pixels with weight > 0, over the batch.
    """
    return _guided_mean((pred - target) ** 2, weight)


def weighted_l1(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Guided absolute error of offset maps (paper: Eq. 4).

    Args:
        pred, target: (..., 2, H, W), (y, x) pixels.
        weight: (..., H, W) in [0, 1].

    Returns:
        Scalar: sum of weight x absolute error / number of pixels with weight > 0, over the batch.
    """
    return _guided_mean((pred - target).abs(), weight)


def top_k_cross_entropy(
    logits: Tensor, labels: Tensor, k: float = 0.2, ignore: int = IGNORE_INDEX
) -> Tensor:
    """Cross entropy over the hardest share of a batch's pixels.

    Args:
        logits: (B, C+1, H, W) before softmax.
        labels: (B, H, W) int WSSS indices.
        k: share of all pixels, in (0, 1]; 1 is the mean over all of them (paper: Eq. 5).
        ignore: label of pixels that count for nothing; they take part as losses of 0 below k = 1.

    Returns:
        Scalar mean; 0, with a gradient of 0, where every pixel is ignored.
    """
    losses = F.cross_entropy(logits, labels.long(), ignore_index=ignore, reduction="none")
    if k >= 1:
        return losses.sum() / (labels != ignore).sum().clamp(min=1)
    hardest = max(int(k * losses.numel()), 1)
    return losses.flatten().topk(hardest, sorted=False).values.mean()
