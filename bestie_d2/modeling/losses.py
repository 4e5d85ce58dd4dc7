"""Losses under instance-aware guidance (paper: Section 3.4, Eq. 3 to 5, Listing 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.utils import comm
from torch import Tensor, distributed
from torch.utils.checkpoint import checkpoint

from bestie_d2.structures import IGNORE_INDEX


def _image_errors(squared: bool, pred: Tensor, *guides: Tensor) -> Tensor:
    """(G,) weighted error of one image against a target and under a weight each."""
    exact = pred.to(torch.promote_types(pred.dtype, torch.float32))  # half precision is summed so
    totals = []
    for target, weight in zip(guides[::2], guides[1::2], strict=True):
        difference = exact - target
        error = difference.square() if squared else difference.abs()
        totals.append((error * weight).sum())
    return torch.stack(totals)


def divisor(count: Tensor, *, shared: bool) -> Tensor:
    """What sums over so many are divided by, at least 1. With ``shared`` the mean of all processes'
    counts, of which there is at least 1 in all together: the mean over all processes of losses that
    are divided by it is the loss of their whole batch."""
    processes = comm.get_world_size() if shared else 1
    total = count.to(torch.float32)
    if processes > 1:
        distributed.all_reduce(total)
    return total.clamp(min=1) / processes


def _of_all_processes(values: Tensor) -> Tensor:
    """(V,) values, as many in each process, one after the other."""
    gathered = [torch.empty_like(values) for _ in range(comm.get_world_size())]
    distributed.all_gather(gathered, values)
    return torch.cat(gathered)


def guided_errors(
    pred: Tensor, guides: Sequence[tuple[Tensor, Tensor]], *, squared: bool, shared: bool = False
) -> tuple[Tensor, ...]:
    """The error of one prediction under each of several guides (paper: Eq. 3, 4).

    Errors are computed image by image, and again for the gradient: kept for a batch, they would be
    several times the center maps, which are the largest tensors of a step. Only ``pred`` gets a
    gradient.

    Args:
        pred: (..., K, H, W).
        guides: targets, and weights in [0, 1], that can be expanded to (..., K, H, W) and
            (..., H, W).
        squared: squared error in place of absolute error.
        shared: the batch is that of all processes, and their losses' mean is its loss.

    Returns:
        For each guide a scalar: sum of weight x error / number of pixels with weight > 0, over the
        batch; 0, with a gradient of 0, where nothing is guided.
    """
    *batch, channels, height, width = pred.shape
    flat = [pred.reshape(-1, channels, height, width)]
    for target, weight in guides:
        flat.append(target.expand_as(pred).reshape(-1, channels, height, width).detach())
        flat.append(weight.expand(*batch, height, width).reshape(-1, height, width).detach())
    images = zip(*(maps.unbind() for maps in flat), strict=True)
    totals = sum(checkpoint(_image_errors, squared, *maps, use_reentrant=False) for maps in images)
    guided = torch.stack([(weight > 0).sum() for weight in flat[2::2]])
    return (totals / divisor(guided, shared=shared)).unbind()


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
    logits: Tensor,
    labels: Tensor,
    k: float = 0.2,
    ignore: int = IGNORE_INDEX,
    *,
    shared: bool = False,
) -> Tensor:
    """Cross entropy over the hardest share of a batch's pixels.

    Args:
        logits: (B, C+1, H, W) before softmax.
        labels: (B, H, W) int WSSS indices.
        k: share of all pixels, in (0, 1]; 1 is the mean over all of them (paper: Eq. 5).
        ignore: label of pixels that count for nothing; they take part as losses of 0 below k = 1.
        shared: the batch is that of all processes, of as many pixels in each, and their losses'
            mean is its loss.

    Returns:
        Scalar mean; 0, with a gradient of 0, where every pixel is ignored.
    """
    losses = F.cross_entropy(logits, labels.long(), ignore_index=ignore, reduction="none")
    if k >= 1:
        return losses.sum() / divisor((labels != ignore).sum(), shared=shared)
    flat = losses.flatten()
    if not shared or comm.get_world_size() == 1:
        hardest = max(int(k * flat.numel()), 1)
        return flat.topk(hardest, sorted=False).values.mean()
    everywhere = _of_all_processes(flat.detach())
    hardest = max(int(k * everywhere.numel()), 1)
    bar = everywhere.topk(hardest, sorted=False).values.min()
    above = (everywhere > bar).sum()
    share = (hardest - above) / (everywhere == bar).sum()  # of the pixels at the bar, that count
    counted = (flat > bar) + share * (flat == bar)
    return (counted * flat).sum() * comm.get_world_size() / hardest
