"""Mask R-CNN's mask head that also scores what it finds."""

from __future__ import annotations

from detectron2.modeling import ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead
from detectron2.structures import Instances
from torch import Tensor

IN_MASK = 0.5  # probability from which a pixel is the mask's, as where Detectron2 pastes masks


@ROI_MASK_HEAD_REGISTRY.register()
class ScoredMaskHead(MaskRCNNConvUpsampleHead):
    """Mask of each proposal on an object; a predicted instance is scored by its mask too.

    Training is that of Detectron2's head. Detectron2 has chosen and ordered the instances by their
    class before, and they stay in that order.
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
