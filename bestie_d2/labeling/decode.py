"""Decode: the network's maps of one image -> its instances, the postprocessing of inference
(paper: Eq. 1).

1. find centers: peaks of the center map in each component of the predicted semantic map (their
   window suppresses others nearby, as NMS does elsewhere), and clusters of short offsets;
2. give every pixel to the center of its component that its offset leads to;
3. score: the center's confidence times the mean class probability.
"""

from __future__ import annotations

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
from bestie_d2.ops.components import find_components


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

    Returns:
        masks (N, H, W) bool, classes (N,) int64 and scores (N,) float32 in [0, 1]; on the device of
        the input, by class.
    """
    index_map = fetch(sem_seg_prob.max(dim=0).indices.to(torch.uint8))  # faster than argmax
    components = find_components(index_map, range(len(center)), min_area=min_area)
    foreground = Foreground([components], sem_seg_prob.device)
    value = foreground.read(center[None], foreground.classes)
    offsets = foreground.read_offsets(offset[None])
    centers = find_centers(
        foreground, value, offsets, threshold=center_threshold, kernel=kernel, clustering=clustering
    )
    if keep_centerless:  # a component without a center gets its centroid
        lonely = np.setdiff1d(np.arange(len(components)), centers.owners)
        centroids = components.centroids()[lonely].astype(np.int64)
        centers = centers.joined(centroids, lonely, clustered=False)
    parts = assign(foreground, offsets, centers)

    probability = foreground.read(sem_seg_prob[None], foreground.classes + 1)
    areas, scores = _scores(parts, value, probability, centers)
    found = np.flatnonzero(areas)  # centers that nothing votes for are no instances
    number = np.full(len(areas) + 1, len(found))
    number[found] = np.arange(len(found))
    height, width = components.shape
    masks = torch.zeros(len(found) + 1, height, width, dtype=torch.bool, device=parts.device)
    index = foreground.put(number * (height * width)).index_select(0, parts)
    masks.view(-1).index_fill_(0, index.add_(foreground.pixels), True)
    classes = foreground.classes[centers.owners[found]]
    return masks[:-1], foreground.put(classes), foreground.put(scores[found].astype(np.float32))


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
