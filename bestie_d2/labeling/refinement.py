"""Self-refinement: the network's own instances as its next targets (paper: Section 3.5).

Runs without gradient once a training step. The maps of a batch come to the host in one transfer
each and the targets go back in one, whatever the number of instances.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.grouping import (
    CenterClustering,
    Instance,
    group_map,
    resolve_clustering,
)
from bestie_d2.labeling.pseudo_labels import TargetCanvas
from bestie_d2.ops.offsets import nearest_center, vote
from bestie_d2.structures import InstanceTargets, PointCues, wsss_index

RefinedWeight = Literal["center_times_class", "center"]


def class_probability(sem_seg_logits: Tensor, instance: Instance) -> float:
    """Mean softmax probability of an instance's class over its pixels, from (C+1, H, W) logits."""
    rows, columns = torch.from_numpy(instance.rows), torch.from_numpy(instance.columns)
    logits = sem_seg_logits[:, rows, columns].float()
    chosen = logits[wsss_index(instance.class_id)]
    return float((chosen - logits.logsumexp(dim=0)).exp().mean())


def _refine_image(
    sem_seg_logits: Tensor,
    center: np.ndarray,
    offset: np.ndarray,
    weak_sem_seg: np.ndarray,
    tagged: list[int],
    *,
    max_instances: int,
    sigma: float,
    weighting: RefinedWeight,
    **grouping: object,
) -> InstanceTargets:
    """Refined targets of one image on the host."""
    canvas = TargetCanvas(*center.shape)
    threshold = grouping["threshold"]
    for _, instances in group_map(weak_sem_seg, tagged, center, offset, **grouping):
        if len(instances) > max_instances:
            continue
        for instance in instances:
            confidence, spot = instance.highest(center[instance.class_id])
            likely = class_probability(sem_seg_logits, instance)
            if confidence <= threshold:  # the center was clustered, or lost its own peak
                confidence, spot = 1.0, instance.center
            weight = confidence * likely if weighting == "center_times_class" else confidence
            canvas.guide(instance.rows, instance.columns, spot, min(max(weight, 0.0), 1.0))
            canvas.draw_center(instance.class_id, spot, sigma)
    return canvas.targets


@torch.no_grad()
def refine_labels(
    sem_seg_logits: Tensor,
    center: Tensor,
    offset: Tensor,
    weak_sem_seg: Tensor,
    image_classes: Tensor,
    *,
    center_threshold: float = 0.3,
    kernel: int = 41,
    clustering: bool | CenterClustering = True,
    sigma: float = 6,
    min_area: int = 50,
    max_instances: int = 5,
    weighting: RefinedWeight = "center_times_class",
) -> InstanceTargets:
    """Refined targets of a batch from what the network predicts for it (paper: Listing 5).

    The components of the weak map are split by the predicted centers and offsets; each part gets
    the spot of its highest center value as its center, and the confidence there as its weight.

    Args:
        sem_seg_logits: (B, C+1, H, W) before softmax.
        center: (B, C, H, W).
        offset: (B, 2, H, W), (y, x) pixels.
        weak_sem_seg: (B, H, W) WSSS indices.
        image_classes: (B, C) bool, the images' tags.
        center_threshold, kernel, clustering, min_area: as in ``group_instances``.
        sigma: of the Gaussian around a refined center, in pixels.
        max_instances: components that fall into more instances are left without guidance.
        weighting: the weight of an instance is its center's confidence times the mean class
            probability over it (released recipe), or the confidence alone (paper: Eq. 2).

    Returns:
        Batched targets on the device of ``center``.
    """
    logits = sem_seg_logits.detach().cpu()
    host_center, host_offset = (t.detach().float().cpu().numpy() for t in (center, offset))
    index_maps, tags = weak_sem_seg.cpu().numpy(), image_classes.cpu()
    refined = [
        _refine_image(
            logits[index],
            host_center[index],
            host_offset[index],
            index_maps[index],
            torch.nonzero(tags[index]).flatten().tolist(),
            max_instances=max_instances,
            sigma=sigma,
            weighting=weighting,
            threshold=center_threshold,
            kernel=kernel,
            clustering=resolve_clustering(clustering),
            min_area=min_area,
        )
        for index in range(len(logits))
    ]
    return InstanceTargets.stack(refined).to(center.device)


@torch.no_grad()
def refine_labels_from_points(
    offset: Tensor,
    weak_sem_seg: Tensor,
    cues: list[PointCues],
    image_classes: Tensor,
) -> InstanceTargets:
    """Refined offsets of a batch whose objects are all given as points (paper: Section 4.3).

    Each pixel of a class in the weak map goes to the given point of that class that is nearest to
    where its offset leads; its new offset leads to that very point.

    Args:
        offset: (B, 2, H, W), (y, x) pixels.
        weak_sem_seg: (B, H, W) WSSS indices.
        cues: the points of each image.
        image_classes: (B, C) bool, the images' tags.

    Returns:
        Batched targets on the device of ``offset``: center None, weight 1 on the weak foreground
        of every class that has a point.
    """
    host_offset = offset.detach().float().cpu().numpy()
    index_maps, tags = weak_sem_seg.cpu().numpy(), image_classes.cpu()
    new_offset, weight = torch.zeros(offset.shape), torch.zeros(weak_sem_seg.shape)
    for index, points in enumerate(cues):
        host_points = points.to("cpu")
        for class_id in torch.nonzero(tags[index]).flatten().tolist():
            centers = host_points[host_points.classes == class_id].yx.numpy()
            if len(centers) == 0:
                continue
            rows, columns = np.nonzero(index_maps[index] == wsss_index(class_id))
            votes = vote(host_offset[index], rows, columns)
            chosen = centers[nearest_center(*votes, centers)]
            new_offset.numpy()[index, 0, rows, columns] = chosen[:, 0] - rows
            new_offset.numpy()[index, 1, rows, columns] = chosen[:, 1] - columns
            weight.numpy()[index, rows, columns] = 1.0
    return InstanceTargets(None, new_offset.to(offset.device), weight.to(offset.device))
