"""Semantic knowledge transfer: weak semantic map + cues -> pseudo instance targets.

Paper, Section 3.3: a connected component of one class that holds exactly one cue is taken for an
instance. Everything else stays without guidance, so that a missing instance is never called
background. Not in the paper: those that hold several can be split among them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from bestie_d2.labeling.grouping import fetch
from bestie_d2.labeling.targets import draw_targets, scales_of
from bestie_d2.ops.components import Components, find_components, regions_of_map
from bestie_d2.structures import NOWHERE, InstanceTargets, PointCues, PseudoLabels

CenterChoice = Literal["component", "cue"]


@dataclass(frozen=True)
class Transfer:
    """How components become instances; see :func:`transfer_semantic_knowledge`."""

    sigma: float = 6
    sigma_by_size: float = 0.0
    min_area: int = 50
    whole_pixel_centers: bool = True
    split_weight: float = 0.0

    def from_cues(self, components: Components, cues: PointCues) -> PseudoLabels:
        """The components that hold one cue of their class as instances; with a ``split_weight``
        the parts of those that hold several, too."""
        if not self.split_weight:
            return self.label(components, components.count_cues(cues) == 1)
        parts, split = split_at_cues(components, cues)
        alone = parts.count_cues(cues) == 1
        return self.label(parts, np.where(split, self.split_weight, alone))

    def label(self, components: Components, weights: np.ndarray | None = None) -> PseudoLabels:
        """The components as instances around their centroids, with (K,) weights, by default 1; 0
        is no instance."""
        large = components.areas >= self.min_area
        weights = np.where(large, 1.0 if weights is None else weights, 0.0)
        kept = weights > 0
        centers = components.centroids()
        centers = np.floor(centers) if self.whole_pixel_centers else centers
        return PseudoLabels(
            components,
            centers=centers,
            weights=weights,
            peaks=np.floor(centers[kept]).astype(np.int64),
            peak_classes=components.classes[kept],
            scales=scales_of(components.areas[kept], self.sigma, self.sigma_by_size),
        )

    def at_cues(self, labels: PseudoLabels, cues: PointCues, tags: Tensor) -> PseudoLabels:
        """The same instances, but Gaussians are drawn at every cue of a class that (C,) bool tags
        name (point supervision); an object's size is that of the instance that it lies on."""
        tagged = cues[tags[cues.classes]]
        peaks = np.array(tagged.pixels(), dtype=np.int64).reshape(-1, 2)
        hit = labels.components.at(peaks)
        scales = np.full(len(peaks), float(self.sigma))
        known = hit >= 0
        known[known] = labels.weights[hit[known]] > 0
        areas = labels.components.areas[hit[known]]
        scales[known] = scales_of(areas, self.sigma, self.sigma_by_size)
        classes = tagged.classes.numpy()
        return replace(labels, peaks=peaks, peak_classes=classes, scales=scales)


def split_at_cues(components: Components, cues: PointCues) -> tuple[Components, np.ndarray]:
    """Split the components that hold several cues of their class among these: each pixel goes to
    the nearest in a straight line (not in the paper, which leaves such components out).

    Args:
        cues: (y, x) pixels of the components' map. Those on the same pixel share one part.

    Returns:
        What is whole and the parts, together by class; (K,) bool, which of them are of a component
        that held several.
    """
    shared = components.count_cues(cues) > 1
    if not shared.any():
        return components, shared
    yx, holders = np.array(cues.pixels(), dtype=np.int64), components.holders(cues)
    numbers, classes = components.owners.astype(np.uint32) + 1, components.classes.tolist()
    pixels_of = np.argsort(components.owners, kind="stable")
    ends = np.cumsum(components.areas)
    for component in np.flatnonzero(shared):
        own = np.unique(yx[holders == component], axis=0)
        where = pixels_of[ends[component] - components.areas[component] : ends[component]]
        pixels = np.stack(np.divmod(components.pixels[where], components.shape[1]), axis=1)
        nearest = cKDTree(own).query(pixels)[1]
        new = nearest > 0  # the first cue's part keeps the component's number
        numbers[where[new]] = len(classes) + nearest[new]
        classes += [classes[component]] * (len(own) - 1)
    drawn = np.zeros(components.shape, dtype=np.uint32)
    drawn.reshape(-1)[components.pixels] = numbers
    parts = regions_of_map(drawn, classes)
    split = np.zeros(len(parts), dtype=bool)
    split[parts.at(yx[(holders != NOWHERE) & shared[holders]])] = True
    return parts, split


def transfer_semantic_knowledge(
    weak_sem_seg: Tensor,
    cues: PointCues,
    image_classes: Tensor,
    *,
    sigma: float = 6,
    sigma_by_size: float = 0.0,
    min_area: int = 50,
    centers: CenterChoice = "component",
    whole_pixel_centers: bool = True,
    split_weight: float = 0.0,
) -> InstanceTargets:
    """Pseudo instance targets of one image (paper: Section 3.3, Listing 4).

    Args:
        weak_sem_seg: (H, W) int WSSS indices (0 background, class + 1, 255 ignore).
        cues: one point per supposed object, (y, x) pixels of the map.
        image_classes: (C,) bool, the image's tags; other classes in the map are passed over.
        sigma: of the Gaussian around a center, in pixels.
        sigma_by_size: if above 0, sigma is this share of the square root of the object's pixels;
            ``sigma`` is that of cues whose object is not known.
        min_area: smaller components are dropped, in pixels.
        centers: ``"component"`` draws the Gaussians at the instances' centroids; ``"cue"`` (point
            supervision) at every cue of a tagged class, with or without an instance. Offsets point
            at the instances' centroids either way, as in the released recipe.
        whole_pixel_centers: a centroid is cut to its integer part (released recipe) instead of
            kept as it is (paper).
        split_weight: if above 0, components with several cues of their class are split by the
            nearest cue into instances of this weight (not in the paper).

    Returns:
        Targets (C, H, W), (2, H, W), (H, W) on the device of ``weak_sem_seg``; weight 1 (of split
        ones ``split_weight``) on the pixels of the instances and 0 elsewhere.
    """
    tags, cues = image_classes.cpu(), cues.to("cpu")
    index_map = fetch(weak_sem_seg.to(torch.uint8))
    components = find_components(index_map, np.flatnonzero(tags), min_area=min_area)
    recipe = Transfer(sigma, sigma_by_size, min_area, whole_pixel_centers, split_weight)
    labels = recipe.from_cues(components, cues)
    if centers == "cue":
        labels = recipe.at_cues(labels, cues, tags)
    return draw_targets([labels], num_classes=len(tags), device=weak_sem_seg.device)[0]
