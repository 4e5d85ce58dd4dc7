"""Losses of single-stage weakly-supervised segmentation (Araslanov & Roth, CVPR 2020).

Legend: ``B`` images, ``C`` classes, ``h, w`` the map. Masks are softmax probabilities, channel 0
the background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bestie_d2.modeling.losses import divisor
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX


def with_background(logits: Tensor, background_logit: float = 1.0) -> Tensor:
    """(B, C, h, w) logits with the constant background's in front: (B, C+1, h, w)."""
    return F.pad(logits, (0, 0, 0, 0, 1, 0), value=background_logit)


def class_scores(
    logits: Tensor, masks: Tensor, *, focal_power: float = 3.0, focal_offset: float = 0.01
) -> Tensor:
    """Image-level scores: normalised global weighted pooling plus focal mask penalty.

    Args:
        logits, masks: (B, C, h, w), of the same classes.
        focal_power: the larger, the sooner a growing mask is left alone.
        focal_offset: bounds the penalty of an empty mask to its logarithm.

    Returns:
        (B, C): sum(logit x mask) / (1 + sum(mask)) + (1 - m)^power log(offset + m), where m is
        the mean mask.
    """
    pooled = (logits * masks).sum(dim=(-2, -1)) / (1 + masks.sum(dim=(-2, -1)))
    size = masks.mean(dim=(-2, -1))
    return pooled + (1 - size) ** focal_power * (focal_offset + size).log()


def tag_loss(scores: Tensor, tags: Tensor) -> Tensor:
    """Multilabel soft-margin loss of (B, C) scores against (B, C) bool tags: a scalar."""
    return F.multilabel_soft_margin_loss(scores, tags.to(scores.dtype))


def pseudo_masks(
    masks: Tensor,
    tags: Tensor,
    *,
    foreground_share: float = 0.6,
    background_share: float = 0.7,
    min_confidence: float = 0.2,
) -> Tensor:
    """Confident pixels of refined masks as labels.

    Args:
        masks: (B, C+1, h, w) probabilities.
        tags: (B, C) bool; other classes are out of the question.
        foreground_share, background_share: of the largest value of a mask in its image, that a
            pixel has to exceed.
        min_confidence: that it has to exceed as well.

    Returns:
        (B, h, w) int64 WSSS indices; 255 where no mask or more than one claims the pixel.
    """
    allowed = F.pad(tags, (1, 0), value=True)[..., None, None]
    share = masks.new_full((masks.shape[1], 1, 1), foreground_share)
    share[BACKGROUND_INDEX] = background_share
    bar = (share * masks.amax(dim=(-2, -1), keepdim=True)).clamp(min=min_confidence)
    claimed = (masks > bar) & allowed
    labels = claimed.long().argmax(dim=1)
    return labels.masked_fill(claimed.sum(dim=1) != 1, IGNORE_INDEX)


def balanced_cross_entropy(
    logits: Tensor, labels: Tensor, tags: Tensor, *, shared: bool = False
) -> Tensor:
    """Cross entropy in which a label weighs the less, the more of its image it covers.

    A pixel's weight is 1 minus the share of its label among the labeled pixels of its image. Only
    images in whose labels every tagged class appears are used.

    Args:
        logits: (B, C+1, h, w) before softmax.
        labels: (B, h, w) int64 WSSS indices, 255 ignored.
        tags: (B, C) bool.
        shared: the images are those of all processes, and their losses' mean is that of all.

    Returns:
        Scalar: the mean, over the images used, of the weighted mean over all of an image's pixels;
        0, with a gradient of 0, where no image is used.
    """
    num_labels = logits.shape[1]
    known = labels != IGNORE_INDEX
    index = labels.clamp(max=num_labels - 1).flatten(1)
    counts = torch.zeros(logits.shape[:2], dtype=torch.long, device=labels.device)  # (B, C+1)
    counts.scatter_add_(1, index, known.long().flatten(1))
    usable = ((counts[:, 1:] > 0) | ~tags).all(dim=1)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    weight = torch.where(known, (1 - shares).gather(1, index).view_as(known), 0)
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
    by_image = (losses * weight).mean(dim=(-2, -1))
    used = divisor(usable.sum(), shared=shared)
    return (by_image * usable).sum() / used
