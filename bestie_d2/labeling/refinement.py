"""Self-refinement: the network's own instances as its next targets (paper: Section 3.5).

Runs without gradient once a training step, on the device of the maps. Given the components of the
weak maps, as loading workers find them, a batch waits for its device once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.grouping import (
    CenterClustering,
    Centers,
    Foreground,
    assign,
    fetch,
    find_centers,
    first_with,
    highest_of,
    sums_of,
)
from bestie_d2.labeling.targets import draw_centers, draw_offsets, scales_of
from bestie_d2.ops.components import Components, find_components
from bestie_d2.structures import InstanceTargets, PointCues

RefinedWeight = Literal["center_times_class", "center"]


def components_of(
    weak_sem_seg: Tensor, image_classes: Tensor, min_area: int = 1
) -> list[Components]:
    """The components of tagged classes in (B, H, W) WSSS indices, with (B, C) bool tags."""
    maps, tags = fetch(weak_sem_seg.to(torch.uint8)), fetch(image_classes)
    images = zip(maps, tags, strict=True)
    return [find_components(m, np.flatnonzero(t), min_area=min_area) for m, t in images]


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
    sigma_by_size: float = 0.0,
    min_area: int = 50,
    max_instances: int = 5,
    weighting: RefinedWeight = "center_times_class",
    components: Sequence[Components] | None = None,
) -> InstanceTargets:
    """Refined targets of a batch (paper: Section 3.5, Listing 5).

    The components of the weak map are split by the network's centers and offsets; each part gets
    the pixel of its highest center value as its center, and the confidence there as its weight.

    Args:
        sem_seg_logits: (B, C+1, H, W) before softmax.
        center: (B, C, H, W).
        offset: (B, 2, H, W), (y, x) pixels.
        weak_sem_seg: (B, H, W) WSSS indices.
        image_classes: (B, C) bool, the images' tags.
        center_threshold, kernel, clustering, min_area: as in ``group_instances``.
        sigma, sigma_by_size: of the Gaussian around a center, as in
            ``transfer_semantic_knowledge``.
        max_instances: components that fall into more instances are left without guidance.
        weighting: the weight of an instance is its center's confidence times the mean class
            probability over it (released recipe), or the confidence alone (paper: Eq. 2).
        components: of the weak map's tagged classes, if they are known; ``weak_sem_seg``,
            ``image_classes`` and ``min_area`` are not looked at then.

    Returns:
        Batched targets on the device of ``center``.
    """
    components = components or components_of(weak_sem_seg, image_classes, min_area)
    foreground = Foreground(components, center.device)
    value, offsets = foreground.read(center, foreground.classes), foreground.read_offsets(offset)
    centers = find_centers(
        foreground, value, offsets, threshold=center_threshold, kernel=kernel, clustering=clustering
    )
    parts, count = assign(foreground, offsets, centers), len(centers.owners)
    del offsets
    areas = sums_of(parts, torch.ones(1, device=parts.device), count)
    highest = highest_of(parts, value, count)
    index = first_with(parts, value, highest)

    owners = foreground.put(centers.owners)
    per_component = sums_of(owners, areas > 0, len(foreground.classes)).index_select(0, owners)
    kept = (areas > 0) & (per_component <= max_instances)
    lost = highest <= center_threshold  # the center was clustered, or lost its own peak
    found_at = foreground.put(foreground.find(centers.owners, centers.yx))
    index = torch.where(lost, found_at, index)
    weights = value.index_select(0, index).double()
    if weighting == "center_times_class":
        likely = sums_of(parts, foreground.softmax(sem_seg_logits), count) / areas.clamp(min=1)
        weights = torch.where(lost, 1.0, weights) * likely
    weights = weights.clamp(0, 1) * kept

    axes = (foreground.rows, foreground.columns)
    yx = torch.stack([axis.index_select(0, index) for axis in axes], dim=1).long()
    drawn = draw_offsets(foreground, parts, yx, weights)
    largest = max((int(found.areas.max(initial=0)) for found in components), default=0)
    channels = (foreground.classes + foreground.images * center.shape[1])[centers.owners]
    heatmaps = draw_centers(
        foreground,
        center.shape[1],
        foreground.put(channels),
        # What is left out is drawn where it cannot be seen.
        torch.where(kept[:, None], yx, -foreground.shape[1] * foreground.shape[2]),
        scales_of(areas, sigma, sigma_by_size),
        scales_of(float(largest), sigma, sigma_by_size),
    )
    return InstanceTargets(heatmaps, *drawn)


@torch.no_grad()
def refine_labels_from_points(
    offset: Tensor,
    weak_sem_seg: Tensor,
    cues: list[PointCues],
    image_classes: Tensor,
    *,
    components: Sequence[Components] | None = None,
) -> InstanceTargets:
    """Refined offsets of a batch whose objects are all given as points (paper: Section 4.3).

    Each pixel of a class in the weak map goes to the given point of that class that is nearest to
    where its offset leads; its new offset leads to that very point.

    Args:
        offset: (B, 2, H, W), (y, x) pixels.
        weak_sem_seg: (B, H, W) WSSS indices.
        cues: the points of each image.
        image_classes: (B, C) bool, the images' tags.
        components: as in :func:`refine_labels`, the smallest ones included.

    Returns:
        Batched targets on the device of ``offset``: center None, weight 1 on the weak foreground
        of every class that has a point.
    """
    components = components or components_of(weak_sem_seg, image_classes)
    foreground = Foreground(components, offset.device)
    hosted = [(points.yx.cpu().numpy(), points.classes.cpu().numpy()) for points in cues]
    yx, owners = [], []
    for found, first, (points, classes) in zip(components, foreground.first, hosted, strict=True):
        owner, index = np.nonzero(found.classes[:, None] == classes)
        yx.append(points[index])
        owners.append(owner + first)
    all_yx, all_owners = np.concatenate(yx), np.concatenate(owners)
    centers = Centers(all_yx, all_owners, np.zeros(len(all_owners), dtype=bool))
    parts = assign(foreground, foreground.read_offsets(offset), centers)
    weights = torch.ones(len(all_owners), device=offset.device)
    return InstanceTargets(None, *draw_offsets(foreground, parts, foreground.put(all_yx), weights))
