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
    highest_pixels,
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
    components = find_components(_index_map(sem_seg_prob), range(len(center)), min_area=min_area)
    foreground = Foreground([components], sem_seg_prob.device)
    own_center = foreground.read(center[None], foreground.classes)
    offsets = foreground.read_offsets(offset[None])
    centers = find_centers(
        foreground,
        own_center,
        offsets,
        threshold=center_threshold,
        kernel=kernel,
        clustering=clustering,
    )
    if keep_centerless:
        centers = _with_centerless(centers, foreground)
    parts = assign(foreground, offsets, centers)

    probability = foreground.read(sem_seg_prob[None], foreground.classes + 1)
    areas, scores = _scores(parts, own_center, probability, centers)
    found = np.flatnonzero(areas)  # centers that nothing votes for are no instances
    number = np.full(len(areas) + 1, len(found))
    number[found] = np.arange(len(found))
    masks = torch.zeros(len(found) + 1, *components.shape, dtype=torch.bool, device=parts.device)
    size = components.shape[0] * components.shape[1]
    places = foreground.put(number).index_select(0, parts) * size + foreground.pixels
    masks.view(-1).index_fill_(0, places, True)
    classes = foreground.classes[centers.owners[found]]
    return masks[:-1], foreground.put(classes), foreground.put(scores[found].astype(np.float32))


def _index_map(sem_seg_prob: Tensor) -> np.ndarray:
    """(H, W) uint8 index of the most probable channel, the first one on a tie.

    Channel by channel, which reads memory in its order: several times faster than an argmax across
    channels on a processor.
    """
    largest, index = sem_seg_prob[0].clone(), torch.zeros_like(sem_seg_prob[0], dtype=torch.uint8)
    for number, channel in enumerate(sem_seg_prob[1:], start=1):
        larger = (channel > largest).view(torch.uint8)
        torch.maximum(index, larger.mul_(number), out=index)
        torch.maximum(largest, channel, out=largest)
    return fetch(index)


def _with_centerless(centers: Centers, foreground: Foreground) -> Centers:
    """The centers, and the centroid of each component that has none."""
    (components,) = foreground.components
    lonely = np.setdiff1d(np.arange(len(components)), centers.owners)
    if len(lonely) == 0:
        return centers
    return Centers.sorted(
        np.concatenate([centers.yx, components.centroids()[lonely].astype(np.int64)]),
        np.concatenate([centers.owners, lonely]),
        np.concatenate([centers.clustered, np.zeros(len(lonely), dtype=bool)]),
    )


def _scores(
    parts: Tensor, center: Tensor, probability: Tensor, centers: Centers
) -> tuple[np.ndarray, np.ndarray]:
    """(M,) pixels and (M,) score of each center's part. A clustered center, or a value that is no
    probability, counts as the class probability (released recipe)."""
    count = len(centers.owners)
    highest, _ = highest_pixels(parts, center, count)
    areas = sums_of(parts, torch.ones_like(center), count)
    sums = sums_of(parts, probability, count)
    areas, sums, highest = fetch(torch.stack([areas, sums, highest.double()]))
    likely = sums / np.maximum(areas, 1)
    confident = ~centers.clustered & (highest <= 1)
    return areas, likely * np.maximum(np.where(confident, highest, likely), 0)
