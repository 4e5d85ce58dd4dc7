"""Self-refinement: the network's own instances as its next targets (paper: Section 3.5).

Runs without gradient once a training step. The maps of a batch come to the host in one transfer
each and the targets go back in one, whatever the number of instances.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.grouping import CenterClustering, group_map, resolve_clustering
from bestie_d2.labeling.pseudo_labels import TargetCanvas, empty_targets
from bestie_d2.ops.components import Component
from bestie_d2.ops.offsets import nearest_center, vote
from bestie_d2.structures import InstanceTargets, PointCues, wsss_index

RefinedWeight = Literal["center_times_class", "center"]


def class_probability(sem_seg_logits: np.ndarray, component: Component) -> np.ndarray:
    """Softmax probability of a component's class inside its window.

    Args:
        sem_seg_logits: (C+1, H, W) float32.

    Returns:
        (h, w) float32.
    """
    window = sem_seg_logits[(slice(None), *component.window)]
    with np.errstate(over="ignore"):  # beyond float32 the probability is 0, as it comes out
        ratios = np.exp(window - window[wsss_index(component.class_id)])
    return 1 / ratios.sum(axis=0)


def _refine_image(
    canvas: TargetCanvas,
    sem_seg_logits: np.ndarray,
    center: np.ndarray,
    offset: np.ndarray,
    weak_sem_seg: np.ndarray,
    tagged: list[int],
    *,
    max_instances: int,
    sigma: float,
    weighting: RefinedWeight,
    threshold: float,
    **grouping: object,
) -> None:
    """Draw the refined targets of one image."""
    for component, instances in group_map(
        weak_sem_seg, tagged, center, offset, threshold=threshold, **grouping
    ):
        if not 0 < len(instances) <= max_instances:
            continue
        probability = class_probability(sem_seg_logits, component)
        class_center = center[component.class_id]
        for instance in instances:
            confidence, spot = instance.highest(class_center)
            likely = float(
                probability[instance.rows - component.top, instance.columns - component.left].mean()
            )
            weight = confidence * likely if weighting == "center_times_class" else confidence
            if confidence <= threshold:  # the center was clustered, or lost its own peak
                spot = instance.center
                weight = likely if weighting == "center_times_class" else class_center[spot]
            canvas.guide(instance.rows, instance.columns, spot, min(max(float(weight), 0.0), 1.0))
            canvas.draw_center(instance.class_id, spot, sigma)


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
    logits, host_center, host_offset = (
        t.detach().float().cpu().numpy() for t in (sem_seg_logits, center, offset)
    )
    index_maps, tags = weak_sem_seg.cpu().numpy(), image_classes.cpu()
    refined = empty_targets(*center.shape)
    for index in range(len(logits)):
        _refine_image(
            TargetCanvas(refined, index),
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
    return refined.to(center.device)


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
