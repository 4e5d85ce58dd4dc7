"""Mask R-CNN's mask head for pseudo labels: masks weigh in training, and in the score at test."""

from __future__ import annotations

import torch
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_loss
from detectron2.structures import Instances
from torch import Tensor
from torch.nn import functional as F

WEIGHTS = "gt_weights"  # of a proposal's losses, where they have one
IN_MASK = 0.5  # probability from which a pixel is the mask's, as where Detectron2 pastes masks


@ROI_MASK_HEAD_REGISTRY.register()
class WeakMaskHead(MaskRCNNConvUpsampleHead):
    """Mask of each proposal on an object."""

    def forward(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor] | list[Instances]:
        """Detectron2's, but that errors of masks are weighted where proposals have weights, which
        ``WeakROIHeads`` give them."""
        found = [objects for objects in instances if len(objects)]
        if not self.training or not found or not found[0].has(WEIGHTS):
            return super().forward(x, instances)
        logits = self.layers(x)
        with torch.no_grad():
            mask_rcnn_loss(logits, instances, self.vis_period)  # its metrics and pictures
        classes = torch.cat([objects.gt_classes for objects in found])
        side, boxes = logits.shape[-1], [objects.proposal_boxes.tensor for objects in found]
        masks = [o.gt_masks.crop_and_resize(b, side) for o, b in zip(found, boxes, strict=True)]
        channels = classes if logits.shape[1] > 1 else torch.zeros_like(classes)
        of_class = logits[torch.arange(len(logits)), channels]
        targets = torch.cat(masks).to(of_class)
        errors = F.binary_cross_entropy_with_logits(of_class, targets, reduction="none")
        weights = torch.cat([objects.get(WEIGHTS) for objects in found])
        return {"loss_mask": self.loss_weight * (weights * errors.mean(dim=(1, 2))).mean()}


@ROI_MASK_HEAD_REGISTRY.register()
class ScoredMaskHead(WeakMaskHead):
    """Mask of each proposal on an object; a predicted instance is scored by its mask too.

    Training is that of the other mask heads. Detectron2 has chosen and ordered the instances by
    their class before, and they stay in that order.
    """

    def forward(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor] | list[Instances]:
        """In training, losses. Else the instances, each with its mask, and with its score, where it
        has one, times the :func:`mask_certainty` (not in the paper; SOLO, arXiv 2106.15947)."""
        predicted = super().forward(x, instances)
        if not self.training:  # Detectron2 has put the masks into what it was given
            for objects in (each for each in instances if each.has("scores")):
                objects.scores = objects.scores * mask_certainty(objects.pred_masks)
        return predicted


def mask_certainty(masks: Tensor) -> Tensor:
    """(n,) float32 mean probability over the pixels of each mask, of (n, 1, side, side)
    probabilities; 0 of an empty mask."""
    probabilities = masks.flatten(1).float()
    inside = probabilities >= IN_MASK
    return (probabilities * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)


MASK_HEADS = {  # what WeakROIHeads make of a configured one
    MaskRCNNConvUpsampleHead.__name__: WeakMaskHead.__name__,
    WeakMaskHead.__name__: WeakMaskHead.__name__,
    ScoredMaskHead.__name__: ScoredMaskHead.__name__,
}
