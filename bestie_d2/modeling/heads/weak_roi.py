"""Mask R-CNN's heads for pseudo labels: a label counts as much as its score promises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads import (
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from detectron2.structures import Instances
from torch import Tensor
from torch.nn import functional as F

from bestie_d2.model_keys import with_keys

SCORES = "gt_scores"  # field of an instance: the score of the label that it is


def label_weights(scores: Tensor) -> Tensor:
    """(n,) weights in the proportion of the labels' (n,) scores, of mean 1: losses keep their size,
    whatever the scores of a set."""
    return scores / scores.mean().clamp(min=torch.finfo(scores.dtype).tiny)


@ROI_HEADS_REGISTRY.register()
class WeakROIHeads(StandardROIHeads):
    """Detectron2's standard heads, whose class and mask losses weigh each proposal on an object by
    the score of its label (not in the paper). Labels without scores count alike."""

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        parts = super()._init_box_head(cfg, input_shape)
        return {**parts, "box_predictor": WeakOutputLayers(cfg, parts["box_head"].output_shape)}

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        weighted = with_keys(cfg, {"MODEL.ROI_MASK_HEAD.NAME": WeakMaskHead.__name__})
        return super()._init_mask_head(weighted, input_shape)


class WeakOutputLayers(FastRCNNOutputLayers):
    """Class and box of each proposal."""

    def losses(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> dict[str, Tensor]:
        losses = super().losses(predictions, proposals)
        if not any(found.has(SCORES) for found in proposals):
            return losses
        classes = torch.cat([found.gt_classes for found in proposals])
        objects = classes < self.num_classes
        weights = torch.ones_like(classes, dtype=torch.float32)
        weights[objects] = label_weights(torch.cat([_scores_of(f) for f in proposals])[objects])
        errors = F.cross_entropy(predictions[0], classes, reduction="none")
        share = self.loss_weight.get("loss_cls", 1.0)
        return {**losses, "loss_cls": share * (weights * errors).mean()}


@ROI_MASK_HEAD_REGISTRY.register()
class WeakMaskHead(MaskRCNNConvUpsampleHead):
    """Mask of each proposal on an object."""

    def forward(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor] | list[Instances]:
        if not self.training or not any(found.has(SCORES) for found in instances):
            return super().forward(x, instances)
        logits, found = self.layers(x), [objects for objects in instances if len(objects)]
        classes = torch.cat([objects.gt_classes for objects in found])
        side = logits.shape[-1]
        boxes = [objects.proposal_boxes.tensor for objects in found]
        masks = [o.gt_masks.crop_and_resize(b, side) for o, b in zip(found, boxes, strict=True)]
        of_class = logits[torch.arange(len(logits)), classes if logits.shape[1] > 1 else 0]
        targets = torch.cat(masks).to(of_class)
        errors = F.binary_cross_entropy_with_logits(of_class, targets, reduction="none")
        weights = label_weights(torch.cat([objects.get(SCORES) for objects in found]))
        return {"loss_mask": self.loss_weight * (weights * errors.mean(dim=(1, 2))).mean()}


def _scores_of(proposals: Instances) -> Tensor:
    """(n,) scores of the labels that proposals are matched with, 0 where an image has no label."""
    if proposals.has(SCORES):
        return proposals.get(SCORES)
    return torch.zeros(len(proposals), device=proposals.gt_classes.device)
