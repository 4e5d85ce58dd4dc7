"""Semantic knowledge transfer: weak semantic map + cues -> pseudo instance targets.

Paper, Section 3.3: a connected component of one class that holds exactly one cue is taken for an
instance. Everything else stays without guidance, so that a missing instance is never called
background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.drawing import draw_targets
from bestie_d2.labeling.evidence import labels_on_host, tagged_indices
from bestie_d2.ops.regions import Regions, find_regions, regions_of_values
from bestie_d2.structures import InstanceTargets, PointCues, PseudoLabels, wsss_index

CenterChoice = Literal["component", "cue"]


def cues_in_regions(regions: Regions, cues: PointCues) -> np.ndarray:
    """(K,) int: how many cues of their class regions of a map of WSSS indices hold; a region with
    exactly one is taken for an instance."""
    height, width = regions.shape
    yx = np.array(cues.pixels(), dtype=np.int64).reshape(-1, 2)
    inside = ((yx >= 0) & (yx < (height, width))).all(axis=1)
    hit, _ = regions.places_of(yx[inside])
    index = wsss_index(cues.classes.numpy()[inside])
    on_region = hit >= 0
    hit, index = hit[on_region], index[on_region]
    return np.bincount(hit[regions.values[hit] == index], minlength=len(regions))


def _labels_of_regions(
    regions: Regions, chosen: np.ndarray, classes: np.ndarray, whole_pixel_centers: bool
) -> PseudoLabels:
    """Those regions that (K,) bool choose as instances of (N,) classes around their centroids."""
    centers = regions.centroids()[chosen]
    if whole_pixel_centers:
        centers = np.floor(centers)
    return PseudoLabels(
        instance_map=regions.paint(np.where(chosen, np.cumsum(chosen), 0).astype(np.int32), 0),
        centers=centers,
        weights=np.ones(len(centers)),
        peaks=np.floor(centers).astype(np.int64),
        peak_classes=classes,
    )


def find_pseudo_labels(
    weak_sem_seg: Tensor,
    cues: PointCues,
    image_classes: Tensor,
    *,
    min_area: int = 50,
    centers: CenterChoice = "component",
    whole_pixel_centers: bool = True,
) -> PseudoLabels:
    """The instances that :func:`transfer_semantic_knowledge` draws; arguments as there."""
    (index_map,), (tags,) = labels_on_host(weak_sem_seg[None], image_classes[None])
    regions = find_regions(index_map, tagged_indices(tags), connectivity=8, min_area=min_area)
    host_cues = cues.to("cpu")
    chosen = cues_in_regions(regions, host_cues) == 1
    classes = regions.values[chosen].astype(np.int64) - 1
    labels = _labels_of_regions(regions, chosen, classes, whole_pixel_centers)
    return labels if centers == "component" else with_cues_as_peaks(labels, host_cues, tags)


def with_cues_as_peaks(labels: PseudoLabels, cues: PointCues, tags: np.ndarray) -> PseudoLabels:
    """The same instances, but Gaussians are drawn at every cue of a class that (C,) bool tags name
    (point supervision)."""
    tagged = cues[torch.from_numpy(tags)[cues.classes]]
    peaks = np.array(tagged.pixels(), dtype=np.int64).reshape(-1, 2)
    return replace(labels, peaks=peaks, peak_classes=tagged.classes.numpy())


def transfer_semantic_knowledge(
    weak_sem_seg: Tensor,
    cues: PointCues,
    image_classes: Tensor,
    *,
    sigma: float = 6,
    min_area: int = 50,
    centers: CenterChoice = "component",
    whole_pixel_centers: bool = True,
) -> InstanceTargets:
    """Pseudo instance targets of one image (paper: Section 3.3, Listing 4).

    Args:
        weak_sem_seg: (H, W) int WSSS indices (0 background, class + 1, 255 ignore).
        cues: one point per supposed object, (y, x) pixels of the map.
        image_classes: (C,) bool, the image's tags; other classes in the map are passed over.
        sigma: of the Gaussian around a center, in pixels.
        min_area: smaller components are dropped, in pixels.
        centers: ``"component"`` draws the Gaussians at the instances' centroids; ``"cue"`` (point
            supervision) at every cue of a tagged class, with or without an instance. Offsets point
            at the instances' centroids either way, as in the released recipe.
        whole_pixel_centers: a centroid is cut to its integer part (released recipe) instead of
            kept as it is (paper).

    Returns:
        Targets (C, H, W), (2, H, W), (H, W) on the device of ``weak_sem_seg``; weight 1 on the
        pixels of the instances and 0 elsewhere.
    """
    labels = find_pseudo_labels(
        weak_sem_seg,
        cues,
        image_classes,
        min_area=min_area,
        centers=centers,
        whole_pixel_centers=whole_pixel_centers,
    )
    batch = draw_targets(
        [labels], num_classes=len(image_classes), sigma=sigma, device=weak_sem_seg.device
    )
    return batch[0]


def pseudo_labels_of_map(
    instance_map: np.ndarray,
    classes: Sequence[int],
    *,
    min_area: int = 50,
    whole_pixel_centers: bool = True,
) -> PseudoLabels:
    """Pseudo labels of one image whose instances were labeled beforehand (paper: Table 5).

    Args:
        instance_map: (H, W) of an unsigned type, ``n`` on the pixels of instance ``n - 1``; other
            values belong to none.
        classes: ``0..C-1`` of each instance.
        min_area, whole_pixel_centers: as in :func:`transfer_semantic_knowledge`.

    Returns:
        Those that are large enough, of weight 1.
    """
    wanted = np.zeros(max(int(instance_map.max()), len(classes)) + 1, dtype=bool)
    wanted[1 : len(classes) + 1] = True
    regions = regions_of_values(instance_map, wanted, min_area=min_area)
    own_classes = np.array(classes, dtype=np.int64)[regions.values - 1]
    everything = np.ones(len(regions), dtype=bool)
    return _labels_of_regions(regions, everything, own_classes, whole_pixel_centers)
