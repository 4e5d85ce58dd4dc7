"""From grouped masks to Detectron2's ``Instances``."""

from __future__ import annotations

import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor


def masks_to_instances(
    masks: Tensor, classes: Tensor, scores: Tensor, output_size: tuple[int, int]
) -> Instances:
    """Instances at the original size of an image.

    Args:
        masks: (N, h, w) bool on the image as the network saw it.
        classes: (N,) int64.
        scores: (N,) float.
        output_size: (H, W) of the original image; masks are resized to it (nearest pixel).

    Returns:
        ``pred_masks`` (n, H, W) bool, ``pred_boxes``, ``pred_classes`` and ``scores``, n <= N:
        masks that vanish in the resize are dropped.
    """
    if tuple(masks.shape[-2:]) != tuple(output_size):
        if len(masks):
            resized = torch.nn.functional.interpolate(
                masks[None].to(torch.uint8), size=output_size, mode="nearest-exact"
            )
            masks = resized[0].bool()
        else:
            masks = masks.new_zeros(0, *output_size)
    kept = masks.flatten(1).any(dim=1)
    instances = Instances(tuple(output_size))
    instances.pred_masks = masks[kept]
    instances.pred_boxes = BitMasks(masks[kept]).get_bounding_boxes()
    instances.pred_classes = classes[kept]
    instances.scores = scores[kept]
    return instances
