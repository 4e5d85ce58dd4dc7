"""Decode: the network's maps of one image -> its instances, the postprocessing of inference
(paper: Eq. 1).

1. find centers: peaks of the center map in each component of the predicted semantic map (their
   window suppresses others nearby, as NMS does elsewhere), and clusters of short offsets;
2. give every pixel to the center of its component that its offset leads to;
3. score: the center's confidence times the mean class probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    highest_of,
    sums_of,
)
from bestie_d2.ops.components import crops_of_parts, find_components, part_of
from bestie_d2.structures import BACKGROUND_INDEX, NOWHERE, Components, ObjectMask, PointCues

# Of components that are grouped together, where a picture is large. Each is given the reach of a
# window around it: of 13,000 objects of 20 pixels 100 MiB.
PIXELS_AT_ONCE = 2**18
SMALLEST = 1e-12  # that a sum of probabilities is divided by


def share_foreground(sem_seg_prob: Tensor, possible: Sequence[int]) -> Tensor:
    """Probabilities of an image in which only some classes can be: a pixel's foreground is all
    theirs, in the proportion of their probabilities. What it loses to impossible classes does not
    go to the background, as it would if the rest were only made to sum to 1.

    Args:
        sem_seg_prob: (C+1, H, W), channel 0 the background.
        possible: WSSS indices; the background's changes nothing.

    Returns:
        (C+1, H, W); impossible classes have 0.
    """
    kept = torch.zeros(len(sem_seg_prob), 1, 1).to(sem_seg_prob)
    kept[list(possible)] = 1
    foreground = sem_seg_prob[1:] * kept[1:]
    sums = foreground.sum(dim=0).clamp(min=SMALLEST)
    everything = sem_seg_prob.clone()
    everything[1:] = foreground * (sem_seg_prob[1:].sum(dim=0) / sums)
    return everything


@torch.no_grad()
def group_instances(
    sem_seg_prob: Tensor,
    center: Tensor,
    offset: Tensor,
    *,
    center_threshold: float = 0.1,
    kernel: int = 41,
    clustering: bool | CenterClustering = True,
    min_area: int = 50,
    keep_centerless: bool = True,
    points: PointCues | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Instances of one image.

    Args:
        sem_seg_prob: (C+1, H, W) probabilities, channel 0 the background.
        center: (C, H, W) class-wise center map.
        offset: (2, H, W) from each pixel to its center, (y, x) pixels of the map.
        center_threshold: a peak's value is above it.
        kernel: odd side of the window in which a peak is the largest, in pixels.
        clustering: look for centers in the offset map too, with these values.
        min_area: smaller components of the predicted semantic map are dropped, in pixels.
        keep_centerless: a component without a center becomes one instance.
        points: one on each object, where they are known. Those on a component of their class are
            its centers, whatever the center map says, and a component without one is no object
            (not in the paper).

    Returns:
        masks (N, H, W) bool, classes (N,) int64 and scores (N,) float32 in [0, 1]; on the device of
        the input, by class.
    """
    index_map = fetch(sem_seg_prob.max(dim=0).indices.to(torch.uint8))  # faster than argmax
    components = find_components(index_map, range(len(center)), min_area=min_area)
    foreground = Foreground([components], sem_seg_prob.device)
    parts, classes, scores = group_pixels(
        foreground,
        foreground.read(center[None], foreground.classes),
        foreground.read(sem_seg_prob[None], foreground.classes + 1),
        foreground.read_offsets(offset[None]),
        center_threshold=center_threshold,
        kernel=kernel,
        clustering=clustering,
        keep_centerless=keep_centerless,
        given_centers=None if points is None else centers_at(components, points),
    )
    height, width = components.shape
    masks = torch.zeros(len(classes) + 1, height, width, dtype=torch.bool, device=parts.device)
    masks.view(-1).index_fill_(0, parts.mul_(height * width).add_(foreground.pixels), True)
    return masks[:-1], foreground.put(classes), foreground.put(scores)


def group_pixels(
    foreground: Foreground,
    center: Tensor,
    probability: Tensor,
    offset: Sequence[Tensor],
    *,
    center_threshold: float,
    kernel: int,
    clustering: bool | CenterClustering,
    keep_centerless: bool,
    given_centers: Centers | None = None,
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Instances among the pixels of one image's components, each of which is grouped by itself.

    Args:
        center, probability: (n,) of each pixel's class.
        offset: (n,) y and x.
        given_centers: where they need not be found.

    Returns:
        (n,) int64 instance ``0..N-1`` of each pixel, ``N`` for none; (N,) int64 classes and (N,)
        float32 scores in host memory.
    """
    centers = given_centers
    if centers is None:
        centers = find_centers(
            foreground,
            center,
            offset,
            threshold=center_threshold,
            kernel=kernel,
            clustering=clustering,
        )
        if keep_centerless:  # a component without a center gets its centroid
            (components,) = foreground.components
            lonely = np.setdiff1d(np.arange(len(components)), centers.owners)
            centroids = components.centroids()[lonely].astype(np.int64)
            centers = centers.joined(centroids, lonely, clustered=False)
    parts = assign(foreground, offset, centers)
    areas, scores = _scores(parts, center, probability, centers)
    found = np.flatnonzero(areas)  # centers that nothing votes for are no instances
    number = np.full(len(areas) + 1, len(found))
    number[found] = np.arange(len(found))
    classes = foreground.classes[centers.owners[found]]
    parts = foreground.put(number).index_select(0, parts)
    return parts, classes, scores[found].astype(np.float32)


def centers_at(components: Components, points: PointCues) -> Centers:
    """The points, (y, x) pixels of the components' map, that lie on a component of their class."""
    yx = np.array(points.pixels(), dtype=np.int64).reshape(-1, 2)
    owners = components.holders(points)
    yx, owners = yx[owners != NOWHERE], owners[owners != NOWHERE]
    none = Centers(yx[:0], owners[:0], np.zeros(0, dtype=bool))
    return none.joined(yx, owners, clustered=False)


@dataclass(frozen=True)
class PixelValues:
    """What the network says of a picture, kept of no more than its foreground.

    Attributes:
        index_map: (H, W) uint8 WSSS indices of the likeliest class.
        values: (4, n) float32 of the ``n`` pixels that are no background, in raster order: center
            and probability of their class, y and x of their offset in pixels of the picture.
    """

    index_map: np.ndarray
    values: np.ndarray

    @classmethod
    def of_maps(cls, sem_seg_prob: Tensor, center: Tensor, offset: Tensor) -> PixelValues:
        """Of maps, or of rows of them, as :func:`group_instances` takes them."""
        index = sem_seg_prob.max(dim=0).indices
        inside = (index.flatten() != BACKGROUND_INDEX).nonzero()[:, 0]
        chosen = index.flatten()[inside]
        of_class = (center.flatten(1)[chosen - 1, inside], sem_seg_prob.flatten(1)[chosen, inside])
        values = torch.stack([*of_class, *offset.flatten(1)[:, inside]])
        return cls(fetch(index.to(torch.uint8)), fetch(values.float()))

    def objects(
        self, num_classes: int, device: torch.device, *, min_area: int, **grouping: Any
    ) -> list[ObjectMask]:
        """The instances that :func:`group_instances` would find in the whole maps, by class; memory
        follows the foreground and the largest component."""
        components = find_components(self.index_map, range(num_classes), min_area=min_area)
        kept = components.union()[self.index_map != BACKGROUND_INDEX]
        columns = np.flatnonzero(kept).astype(np.int32)
        found: list[ObjectMask] = []
        batches = (np.cumsum(components.areas) - components.areas) // PIXELS_AT_ONCE
        for batch in np.unique(batches):
            first, end = np.searchsorted(batches, [batch, batch + 1])
            part, inside = part_of(components, first, end)
            foreground = Foreground([part], device)
            center, probability, *offset = (
                foreground.put(column[columns[inside]]) for column in self.values
            )
            parts, classes, scores = group_pixels(
                foreground, center, probability, offset, **grouping
            )
            crops = crops_of_parts(fetch(parts), part.pixels, len(classes), part.shape[1])
            for class_id, score, (top_left, mask) in zip(classes, scores, crops, strict=True):
                found.append(ObjectMask(int(class_id), float(score), top_left, mask))
        return found


def _scores(
    parts: Tensor, center: Tensor, probability: Tensor, centers: Centers
) -> tuple[np.ndarray, np.ndarray]:
    """(M,) pixels and (M,) score of each center's part. A clustered center, or a value that is no
    probability, counts as the class probability (released recipe)."""
    count = len(centers.owners)
    areas = sums_of(parts, torch.ones(1, device=parts.device), count)
    sums = sums_of(parts, probability, count)
    highest = highest_of(parts, center, count).double()
    areas, sums, highest = fetch(torch.stack([areas, sums, highest]))
    likely = sums / np.maximum(areas, 1)
    confident = ~centers.clustered & (highest <= 1)
    return areas, likely * np.maximum(np.where(confident, highest, likely), 0)
