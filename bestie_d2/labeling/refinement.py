"""Self-refinement: the network's own instances as its next targets (paper: Section 3.5).

Runs without gradient once a training step. A batch waits for its device twice, for the weak map and
for the predictions at its foreground, whatever the number of instances; the targets are drawn on
the device.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.centers import CenterClustering, find_centers, resolve_clustering
from bestie_d2.labeling.drawing import DrawnInstances, draw_centers, empty_targets, zeros
from bestie_d2.labeling.evidence import (
    Evidence,
    evidence_at,
    labels_on_host,
    offsets_at,
    on_host,
    places_of,
    softmax_at,
    tagged_indices,
)
from bestie_d2.labeling.grouping import group_regions, votes_of
from bestie_d2.ops.offsets import nearest_center
from bestie_d2.ops.regions import NOWHERE, Regions, find_regions, regions_of_values
from bestie_d2.structures import InstanceTargets, PointCues

RefinedWeight = Literal["center_times_class", "center"]


def _refined_instances(
    regions: Regions,
    evidence: Evidence,
    *,
    max_instances: int,
    weighting: RefinedWeight,
    threshold: float,
    kernel: int,
    clustering: CenterClustering | None,
) -> tuple[DrawnInstances, np.ndarray]:
    """The instances of one image, and their classes ``0..C-1``."""
    centers = find_centers(
        regions, evidence, threshold=threshold, kernel=kernel, clustering=clustering
    )
    groups = group_regions(regions, centers, evidence)
    parts = np.bincount(centers.regions[groups.centers], minlength=len(regions))
    groups = groups.only(parts[centers.regions[groups.centers]] <= max_instances)
    owner = groups.centers
    highest = groups.highest(evidence.center)
    confidence = evidence.center[highest].astype(np.float64)
    lost = confidence <= threshold  # the center was clustered, or lost its own peak
    spots = np.stack([regions.rows[highest], regions.columns[highest]], axis=1)
    weights = np.where(lost, centers.values[owner], confidence)
    if weighting == "center_times_class":
        weights = np.where(lost, 1.0, confidence) * groups.means(evidence.probability)
    instances = DrawnInstances(
        rows=regions.rows[groups.members],
        columns=regions.columns[groups.members],
        owners=groups.owners(),
        centers=np.where(lost[:, None], centers.yx[owner], spots).astype(np.float64),
        weights=np.clip(weights, 0.0, 1.0),
    )
    return instances, regions.values[centers.regions[owner]].astype(np.int64) - 1


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
    maps = [t.detach() for t in (sem_seg_logits, center, offset)]
    regions = [
        find_regions(index_map, tagged_indices(tags), connectivity=8, min_area=min_area)
        for index_map, tags in zip(*labels_on_host(weak_sem_seg, image_classes), strict=True)
    ]
    read = []
    for image_regions, logits, *center_and_offset in zip(regions, *maps, strict=True):
        places = places_of(image_regions, logits)
        read.append(evidence_at(softmax_at(logits, places), *center_and_offset, places))
    evidence = [Evidence(*columns) for columns in on_host(read)]
    refined = empty_targets(*center.shape, device=center.device)
    for index, image_regions in enumerate(regions):
        instances, classes = _refined_instances(
            image_regions,
            evidence[index],
            max_instances=max_instances,
            weighting=weighting,
            threshold=center_threshold,
            kernel=kernel,
            clustering=resolve_clustering(clustering),
        )
        instances.guide(refined.offset[index], refined.weight[index])
        draw_centers(refined.center[index], classes, instances.centers, sigma)
    return refined


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
    regions = [
        regions_of_values(index_map, tagged_indices(tags))
        for index_map, tags in zip(*labels_on_host(weak_sem_seg, image_classes), strict=True)
    ]
    read = [
        offsets_at(own, places_of(image_regions, own))
        for own, image_regions in zip(offset.detach(), regions, strict=True)
    ]
    offsets = on_host(read)
    new_offset = zeros(tuple(offset.shape), offset.device)
    weight = zeros(tuple(weak_sem_seg.shape), offset.device)
    for index, (image_regions, points) in enumerate(zip(regions, cues, strict=True)):
        instances = _nearest_points(image_regions, offsets[index], points.to("cpu"))
        instances.guide(new_offset[index], weight[index])
    return InstanceTargets(None, new_offset, weight)


def _nearest_points(
    regions: Regions, offset: tuple[np.ndarray, ...], points: PointCues
) -> DrawnInstances:
    """Each pixel of a class with points, and the point of that class nearest to its vote.

    Args:
        regions: one for each class.
        offset: y and x, each (n,) float32 at their pixels.
    """
    owners = np.full(len(regions.pixels), NOWHERE)
    classes = points.classes.numpy()
    for number, class_id in enumerate((regions.values.astype(np.int64) - 1).tolist()):
        own = slice(*regions.edges[number : number + 2])
        candidates = np.flatnonzero(classes == class_id)
        if len(candidates):
            votes = votes_of(regions, offset, own)
            owners[own] = candidates[nearest_center(*votes, points.yx.numpy()[candidates])]
    used = np.flatnonzero(owners != NOWHERE)
    return DrawnInstances(
        rows=regions.rows[used],
        columns=regions.columns[used],
        owners=owners[used],
        centers=points.yx.numpy().astype(np.float64),
        weights=np.ones(len(points)),
    )
