"""Self-refinement: the network's own instances as its next targets (paper: Section 3.5).

Runs without gradient once a training step. A batch waits for its device twice, for the weak map and
for the predictions at its foreground, whatever the number of instances; the targets are drawn on
the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.centers import CenterClustering, find_centers, resolve_clustering
from bestie_d2.labeling.drawing import draw_offsets, draw_targets
from bestie_d2.labeling.evidence import Evidence, labels_on_host, on_host, reader_of, tagged_indices
from bestie_d2.labeling.grouping import group_regions, votes_of
from bestie_d2.ops.offsets import nearest_center
from bestie_d2.ops.regions import NOWHERE, Regions, find_regions, regions_of_values
from bestie_d2.structures import InstanceTargets, PointCues, PseudoLabels, wsss_index

RefinedWeight = Literal["center_times_class", "center"]


def _refined_labels(
    regions: Regions,
    evidence: Evidence,
    *,
    max_instances: int,
    weighting: RefinedWeight,
    threshold: float,
    kernel: int,
    clustering: CenterClustering | None,
) -> PseudoLabels:
    """The instances of one image."""
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
    yx = np.where(lost[:, None], centers.yx[owner], spots)
    return PseudoLabels(
        instance_map=_instance_map(regions, groups.members, groups.owners()),
        centers=yx,
        weights=np.clip(weights, 0.0, 1.0),
        peaks=yx,
        peak_classes=regions.values[centers.regions[owner]].astype(np.int64) - 1,
    )


def _instance_map(regions: Regions, places: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """(H, W) int32: the (m,) owners of the pixels at (m,) places, plus 1; ``NOWHERE`` becomes 0."""
    numbers = np.zeros(regions.shape, dtype=np.int32)
    numbers.reshape(-1)[regions.pixels[places]] = owners + 1
    return numbers


def _wanted_on_host(
    weak_sem_seg: Tensor, image_classes: Tensor
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each image (H, W) WSSS indices, and (256,) bool, which of them its tags name."""
    for index_map, tags in zip(*labels_on_host(weak_sem_seg, image_classes), strict=True):
        yield index_map, tagged_indices(tags)


def _read(regions: Regions, logits: Tensor, center: Tensor, offset: Tensor) -> Evidence:
    """What one image's maps say at the regions, where the maps are."""
    reader = reader_of(regions, logits)
    own_center = reader.own_channel(center, wsss_index(0))
    return Evidence(reader.softmax(logits), own_center, *reader.offsets(offset))


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
    regions = [
        find_regions(index_map, wanted, connectivity=8, min_area=min_area)
        for index_map, wanted in _wanted_on_host(weak_sem_seg, image_classes)
    ]
    maps = (own.detach() for own in (sem_seg_logits, center, offset))
    read = [_read(*image) for image in zip(regions, *maps, strict=True)]
    labels = [
        _refined_labels(
            image_regions,
            Evidence(*columns),
            max_instances=max_instances,
            weighting=weighting,
            threshold=center_threshold,
            kernel=kernel,
            clustering=resolve_clustering(clustering),
        )
        for image_regions, columns in zip(regions, on_host(read), strict=True)
    ]
    return draw_targets(
        labels, num_classes=image_classes.shape[1], sigma=sigma, device=center.device
    )


@torch.no_grad()
def refine_labels_from_points(
    offset: Tensor, weak_sem_seg: Tensor, cues: list[PointCues], image_classes: Tensor
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
    regions = [regions_of_values(*image) for image in _wanted_on_host(weak_sem_seg, image_classes)]
    read = [
        reader_of(image_regions, own).offsets(own)
        for own, image_regions in zip(offset.detach(), regions, strict=True)
    ]
    points = (own.to("cpu") for own in cues)
    labels = [_nearest_points(*image) for image in zip(regions, on_host(read), points, strict=True)]
    return InstanceTargets(None, *draw_offsets(labels, offset.device))


def _nearest_points(
    regions: Regions, offset: tuple[np.ndarray, ...], points: PointCues
) -> PseudoLabels:
    """Each point, with those pixels of its class that vote for no other point more nearly.

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
    return PseudoLabels(
        instance_map=_instance_map(regions, np.arange(len(owners)), owners),
        centers=points.yx.numpy(),
        weights=np.ones(len(points)),
        peaks=np.array(points.pixels(), dtype=np.int64).reshape(-1, 2),
        peak_classes=classes,
    )
