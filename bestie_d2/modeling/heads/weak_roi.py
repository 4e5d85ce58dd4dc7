"""Mask R-CNN's heads for pseudo labels: a label counts as much as its score promises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import Tensor, distributed
from torch.nn import functional as F

from bestie_d2.errors import InputError
from bestie_d2.model_keys import with_keys
from bestie_d2.modeling.heads.weak_mask import MASK_HEADS, WEIGHTS

SCORES = "gt_scores"  # of the label that a proposal is matched with
SIGMOID = "USE_SIGMOID_CE"  # of later releases of Detectron2


@ROI_HEADS_REGISTRY.register()
class WeakROIHeads(StandardROIHeads):
    """Detectron2's standard heads, whose class and mask losses weigh each proposal on an object by
    the score of its label (not in the paper). A label without a score counts as one of score 1."""

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        if cfg.MODEL.ROI_BOX_HEAD.get(SIGMOID, False):
            raise InputError(f"MODEL.ROI_BOX_HEAD.{SIGMOID} does not go with WeakROIHeads")
        parts = super()._init_box_head(cfg, input_shape)
        # Built anew, it would begin from other random weights than the standard one.
        parts["box_predictor"].__class__ = WeakOutputLayers
        return parts

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        key, name = "MODEL.ROI_MASK_HEAD.NAME", cfg.MODEL.ROI_MASK_HEAD.NAME
        if name not in MASK_HEADS:
            known = " or ".join(MASK_HEADS)
            raise InputError(f"{key} is {name!r}, with WeakROIHeads it has to be {known}")
        return super()._init_mask_head(with_keys(cfg, {key: MASK_HEADS[name]}), input_shape)

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Detectron2's samples, each with the weight of its losses."""
        samples = super().label_and_sample_proposals(proposals, targets)
        scores = [_scores_of(sampled) for sampled in samples]
        objects = [sampled.gt_classes != self.num_classes for sampled in samples]
        mean = mean_score(torch.cat(scores)[torch.cat(objects)])
        for sampled, score, on_object in zip(samples, scores, objects, strict=True):
            sampled.set(WEIGHTS, torch.where(on_object, score / mean, 1.0))
        return samples


def mean_score(scores: Tensor) -> Tensor:
    """The mean of the (n,) scores of all processes, each of which has to ask: weights in proportion
    to it leave losses their size, whatever the scores of a set. Above 0, also of none."""
    total = torch.stack([scores.sum(), scores.new_tensor(len(scores))])
    if comm.get_world_size() > 1:
        distributed.all_reduce(total)
    return (total[0] / total[1].clamp(min=1)).clamp(min=torch.finfo(total.dtype).tiny)


def _scores_of(samples: Instances) -> Tensor:
    """(n,) scores of the labels that proposals are matched with."""
    if samples.has(SCORES):
        return samples.get(SCORES).float()
    return torch.ones(len(samples), device=samples.gt_classes.device)


class WeakOutputLayers(FastRCNNOutputLayers):
    """Class and box of each proposal."""

    def losses(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Detectron2's, but that errors in classes are weighted."""
        losses = super().losses(predictions, proposals)
        classes = torch.cat([sampled.gt_classes for sampled in proposals])
        weights = torch.cat([sampled.get(WEIGHTS) for sampled in proposals])
        errors = F.cross_entropy(predictions[0], classes, reduction="none")
        factor = self.loss_weight.get("loss_cls", 1.0)
        return {**losses, "loss_cls": factor * (weights * errors).mean()}
