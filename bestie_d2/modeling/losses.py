"""Losses under instance-aware guidance (paper: Section 3.4, Eq. 3 to 5, Listing 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from bestie_d2.structures import IGNORE_INDEX


class _GuidedError(torch.autograd.Function):
    """Weighted error over the number of guided pixels, without a copy of the maps.

    Written out, autograd keeps difference, error and weighted error: three times the center maps,
    which are the largest tensors of a step. Here they are gone through image by image, and again
    for the gradient.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, pred: Tensor, target: Tensor, weight: Tensor, squared: bool
    ) -> Tensor:
        """(B, K, H, W) twice and (B, H, W) -> scalar."""
        guided = (weight > 0).sum().clamp(min=1)
        ctx.save_for_backward(pred, target, weight, guided)
        ctx.squared = squared
        total = pred.new_zeros(())
        for image in range(len(pred)):
            difference = pred[image] - target[image]
            error = difference.square_() if squared else difference.abs_()
            total += error.mul_(weight[image]).sum()
        return total / guided

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        pred, target, weight, guided = ctx.saved_tensors
        gradient = torch.empty_like(pred)
        scale = upstream / guided
        for image in range(len(pred)):
            own = torch.sub(pred[image], target[image], out=gradient[image])
            own = own.mul_(2) if ctx.squared else own.sign_()
            own.mul_(weight[image] * scale)
        return gradient, None, None, None


def _guided_error(pred: Tensor, target: Tensor, weight: Tensor, *, squared: bool) -> Tensor:
    """Weighted sum of the error over the number of pixels with guidance; 0, with a gradient of 0,
    where nothing is guided."""
    pred, target = (maps.reshape(-1, *maps.shape[-3:]) for maps in (pred, target))
    weight = weight.reshape(-1, *weight.shape[-2:])
    return _GuidedError.apply(pred, target.to(pred.dtype), weight, squared)


def weighted_mse(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Guided squared error of center maps (paper: Eq. 3).

    Args:
        pred, target: (..., C, H, W).
        weight: (..., H, W) in [0, 1]; every class channel of a guided pixel counts.

    Returns:
        Scalar: sum of weight x squared error / number of pixels with weight > 0, over the batch.
    """
    return _guided_error(pred, target, weight, squared=True)


def weighted_l1(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Guided absolute error of offset maps (paper: Eq. 4).

    Args:
        pred, target: (..., 2, H, W), (y, x) pixels.
        weight: (..., H, W) in [0, 1].

    Returns:
        Scalar: sum of weight x absolute error / number of pixels with weight > 0, over the batch.
    """
    return _guided_error(pred, target, weight, squared=False)


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
