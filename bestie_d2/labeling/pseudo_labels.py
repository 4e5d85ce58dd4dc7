"""Semantic knowledge transfer: weak semantic map + cues -> pseudo instance targets.

Paper, Section 3.3: a connected component of one class that holds exactly one cue is taken for an
instance. Everything else stays without guidance, so that a missing instance is never called
background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.drawing import DrawnInstances, draw_centers, empty_targets
from bestie_d2.labeling.evidence import labels_on_host, tagged_indices
from bestie_d2.ops.regions import Regions, find_regions, regions_of_values
from bestie_d2.structures import InstanceTargets, PointCues, wsss_index


def single_cue_regions(regions: Regions, cues: PointCues) -> np.ndarray:
    """(K,) bool: which regions of a map of WSSS indices hold exactly one cue of their class."""
    height, width = regions.shape
    yx = np.array(cues.pixels(), dtype=np.int64).reshape(-1, 2)
    inside = ((yx >= 0) & (yx < (height, width))).all(axis=1)
    y, x = yx[inside].T
    hit, index = regions.as_map()[y, x], wsss_index(cues.classes.numpy()[inside])
    on_region = hit >= 0
    hit, index = hit[on_region], index[on_region]
    return np.bincount(hit[regions.values[hit] == index], minlength=len(regions)) == 1


def _draw_regions(
    targets: InstanceTargets, regions: Regions, chosen: np.ndarray, whole_pixel_centers: bool
) -> np.ndarray:
    """Draw offsets to the centroids, and weight 1, of those regions that (K,) bool choose.

    Returns:
        (N, 2) float64 the chosen centers.
    """
    number = np.cumsum(chosen) - 1
    region = regions.of_pixels()
    used = np.flatnonzero(chosen[region])
    centers = regions.centroids()[chosen]
    if whole_pixel_centers:
        centers = np.floor(centers)
    DrawnInstances(
        rows=regions.rows[used],
        columns=regions.columns[used],
        owners=number[region[used]],
        centers=centers,
        weights=np.ones(len(centers)),
    ).guide(targets.offset, targets.weight)
    return centers


def transfer_semantic_knowledge(
    weak_sem_seg: Tensor,
    cues: PointCues,
    image_classes: Tensor,
    *,
    sigma: float = 6,
    min_area: int = 50,
    centers: Literal["component", "cue"] = "component",
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
    num_classes = len(image_classes)
    (index_map,), (tags,) = labels_on_host(weak_sem_seg[None], image_classes[None])
    regions = find_regions(index_map, tagged_indices(tags), connectivity=8, min_area=min_area)
    host_cues = cues.to("cpu")
    chosen = single_cue_regions(regions, host_cues)
    targets = empty_targets(num_classes, *index_map.shape, device=weak_sem_seg.device)
    places = _draw_regions(targets, regions, chosen, whole_pixel_centers)
    classes = regions.values[chosen].astype(np.int64) - 1
    if centers == "cue":
        tagged = host_cues[torch.from_numpy(tags)[host_cues.classes]]
        places, classes = np.array(tagged.pixels()), tagged.classes.numpy()
    draw_centers(targets.center, classes, places, sigma)
    return targets


def targets_of_instances(
    instance_map: Tensor,
    classes: Sequence[int],
    num_classes: int,
    *,
    sigma: float = 6,
    min_area: int = 50,
    whole_pixel_centers: bool = True,
) -> InstanceTargets:
    """Pseudo instance targets of one image whose instances are labeled (paper: Table 5).

    Args:
        instance_map: (H, W) int, ``n`` on the pixels of instance ``n - 1``, on the host; other
            values belong to none.
        classes: ``0..C-1`` of each instance.
        num_classes: C.
        sigma, min_area, whole_pixel_centers: as in :func:`transfer_semantic_knowledge`.

    Returns:
        Targets (C, H, W), (2, H, W), (H, W); weight 1 on the pixels of the instances, 0 elsewhere.
    """
    numbers = instance_map.numpy().astype(np.uint32)
    wanted = np.zeros(max(int(numbers.max()), len(classes)) + 1, dtype=bool)
    wanted[1 : len(classes) + 1] = True
    regions = regions_of_values(numbers, wanted, min_area=min_area)
    targets = empty_targets(num_classes, *numbers.shape)
    everything = np.ones(len(regions), dtype=bool)
    places = _draw_regions(targets, regions, everything, whole_pixel_centers)
    draw_centers(targets.center, np.array(classes)[regions.values - 1], places, sigma)
    return targets
