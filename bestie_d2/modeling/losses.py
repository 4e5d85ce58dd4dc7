"""Losses under instance-aware guidance (paper: Section 3.4, Eq. 3 to 5, Listing 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from bestie_d2.structures import IGNORE_INDEX


class _GuidedErrors(torch.autograd.Function):
    """Weighted errors of one prediction against several targets, without a copy of the maps.

    Written out, autograd keeps difference, error and weighted error for each: three times the
    center maps, which are the largest tensors of a step, and then a gradient for each. Here they
    are gone through image by image, and again for the gradient, of which there is one.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, pred: Tensor, squared: bool, *guides: Tensor
    ) -> tuple[Tensor, ...]:
        """(B, K, H, W), then a target of this shape and a (B, H, W) weight in turn -> scalars."""
        targets, weights = guides[::2], guides[1::2]
        guided = [(weight > 0).sum().clamp(min=1) for weight in weights]
        ctx.save_for_backward(pred, *targets, *weights, *guided)
        ctx.squared = squared
        totals = []
        for target, weight, count in zip(targets, weights, guided, strict=True):
            total = torch.zeros((), dtype=_exact(pred.dtype), device=pred.device)
            for image in range(len(pred)):
                difference = pred[image].to(total.dtype) - target[image]
                error = difference.square_() if squared else difference.abs_()
                total += error.mul_(weight[image]).sum()
            totals.append(total / count)
        return tuple(totals)

    @staticmethod
    def backward(ctx: FunctionCtx, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        pred, *saved = ctx.saved_tensors
        count = len(upstream)
        targets, weights, guided = saved[:count], saved[count : 2 * count], saved[2 * count :]
        scales = [own / pixels for own, pixels in zip(upstream, guided, strict=True)]
        gradient = torch.empty_like(pred)
        for image in range(len(pred)):
            for number, (target, weight, scale) in enumerate(
                zip(targets, weights, scales, strict=True)
            ):
                own = pred[image].to(_exact(pred.dtype)) - target[image]
                own = own.mul_(2) if ctx.squared else own.sign_()
                own.mul_(weight[image] * scale)
                if number == 0:
                    gradient[image] = own
                else:
                    gradient[image] += own
        return gradient, None, *[None] * (2 * count)


def _exact(dtype: torch.dtype) -> torch.dtype:
    """What errors are computed in: float32 for half precision."""
    return torch.promote_types(dtype, torch.float32)


def guided_errors(
    pred: Tensor, guides: Sequence[tuple[Tensor, Tensor]], *, squared: bool
) -> tuple[Tensor, ...]:
    """The error of one prediction under each of several guides (paper: Eq. 3, 4).

    Only ``pred`` gets a gradient, one for all guides together.

    Args:
        pred: (..., K, H, W).
        guides: targets, and weights in [0, 1], that can be expanded to (..., K, H, W) and
            (..., H, W).
        squared: squared error in place of absolute error.

    Returns:
        For each guide a scalar: sum of weight x error / number of pixels with weight > 0, over the
        batch; 0, with a gradient of 0, where nothing is guided.
    """
    *batch, channels, height, width = pred.shape
    flat = []
    for target, weight in guides:
        flat.append(target.expand_as(pred).reshape(-1, channels, height, width))
        flat.append(weight.expand(*batch, height, width).reshape(-1, height, width))
    return _GuidedErrors.apply(pred.reshape(-1, channels, height, width), squared, *flat)


def weighted_mse(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Guided squared error of center maps (paper: Eq. 3), see :func:`guided_errors`.

    Args:
        pred, target: (..., C, H, W).
        weight: (..., H, W) in [0, 1]; every class channel of a guided pixel counts.

    Returns:
        Scalar: sum of weight x squared error / number of pixels with weight > 0, over the batch.
    """
    return guided_errors(pred, [(target, weight)], squared=True)[0]


def weighted_l1(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Guided absolute error of offset maps (paper: Eq. 4), see :func:`guided_errors`.

    Args:
        pred, target: (..., 2, H, W), (y, x) pixels.
        weight: (..., H, W) in [0, 1].

    Returns:
        Scalar: sum of weight x absolute error / number of pixels with weight > 0, over the batch.
    """
    return guided_errors(pred, [(target, weight)], squared=False)[0]


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
