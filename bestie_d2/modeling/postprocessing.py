"""From grouped masks to Detectron2's ``Instances``."""

from __future__ import annotations

from detectron2.structures import BitMasks, Instances
from torch import Tensor


def to_instances(masks: Tensor, classes: Tensor, scores: Tensor) -> Instances:
    """Instances in the form that Detectron2's evaluators take.

    Args:
        masks: (N, H, W) bool at the original size of the image, none of them empty.
        classes: (N,) int64.
        scores: (N,) float.

    Returns:
        ``pred_masks`` (N, H, W) bool, ``pred_boxes``, ``pred_classes`` and ``scores``.
    """
    instances = Instances(tuple(masks.shape[-2:]))
    instances.pred_masks = masks
    instances.pred_boxes = BitMasks(masks).get_bounding_boxes()
    instances.pred_classes = classes
    instances.scores = scores
    return instances
