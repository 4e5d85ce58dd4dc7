"""Instance grouping: center and offset maps -> instances (paper: Eq. 1 and Appendix).

Every component of the semantic map is grouped by itself. The work is done on flat lists of the
components' pixels, so that cost and memory follow the foreground, not the number of instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bestie_d2.labeling.centers import CenterClustering, Centers, find_centers, resolve_clustering
from bestie_d2.labeling.evidence import Evidence, classes_wanted, on_host, reader_of
from bestie_d2.ops.devices import fetch, in_host_memory, to_device
from bestie_d2.ops.offsets import nearest_center
from bestie_d2.ops.regions import NOWHERE, Regions, find_regions
from bestie_d2.structures import BACKGROUND_INDEX, wsss_index


@dataclass(frozen=True)
class Groups:
    """``N`` instances, each of the pixels of a region that vote for one center.

    Attributes:
        members: (m,) int64 places in the regions' lists of pixels, instance by instance.
        edges: (N+1,) int64; instance ``i`` has ``members[edges[i]:edges[i+1]]``, at least one.
        centers: (N,) int64, the center that gathered each.
    """

    members: np.ndarray
    edges: np.ndarray
    centers: np.ndarray

    def only(self, chosen: np.ndarray) -> Groups:
        """The instances that (N,) bool choose."""
        sizes = np.diff(self.edges)
        members = self.members[np.repeat(chosen, sizes)]
        edges = np.concatenate([[0], np.cumsum(sizes[chosen])])
        return Groups(members, edges, self.centers[chosen])

    def owners(self) -> np.ndarray:
        """(m,) instance of each member."""
        return np.repeat(np.arange(len(self.centers)), np.diff(self.edges))

    def highest(self, values: np.ndarray) -> np.ndarray:
        """(N,) the member at which (n,) values are largest on each instance."""
        own = values[self.members]
        best = [start + own[start:stop].argmax() for start, stop in pairwise(self.edges.tolist())]
        return self.members[best]

    def means(self, values: np.ndarray) -> np.ndarray:
        """(N,) float64 mean of (n,) values over each instance."""
        if len(self.centers) == 0:
            return np.zeros(0)
        own = values[self.members].astype(np.float64)
        return np.add.reduceat(own, self.edges[:-1]) / np.diff(self.edges)


def votes_of(
    regions: Regions, offset: Sequence[np.ndarray], part: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Where a part of the regions' pixels believe their centers to be, each (p,) float32 y and x.

    Args:
        offset: y and x, each (n,) float32 at the regions' pixels.
    """
    axes = zip((regions.rows, regions.columns), offset, strict=True)
    y, x = ((pixel[part] + own[part]).astype(np.float32) for pixel, own in axes)
    return y, x


def group_regions(regions: Regions, centers: Centers, evidence: Evidence) -> Groups:
    """Split regions by the center that each pixel votes for; centers without votes drop out, and
    so do regions without a center."""
    bounds = np.searchsorted(centers.regions, np.arange(len(regions) + 1))
    count = np.diff(bounds)
    owner = np.repeat(np.where(count > 0, bounds[:-1], NOWHERE), regions.areas)
    for region in np.flatnonzero(count > 1):
        own = slice(*regions.edges[region : region + 2])
        candidates = centers.yx[bounds[region] : bounds[region + 1]]
        offset = (evidence.offset_y, evidence.offset_x)
        owner[own] += nearest_center(*votes_of(regions, offset, own), candidates)
    members = np.argsort(owner, kind="stable")[(owner == NOWHERE).sum() :]
    sizes = np.bincount(owner[members], minlength=len(centers.regions))
    used = np.flatnonzero(sizes)
    return Groups(members, np.concatenate([[0], np.cumsum(sizes[used])]), used)


def index_of_largest(maps: Tensor) -> np.ndarray:
    """(H, W) uint8 index of the largest of (K, H, W) maps, the first one on a tie, on the host."""
    if not in_host_memory(maps.device):
        return fetch(maps.argmax(dim=0).to(torch.uint8))
    # Map by map, which reads memory in its order: several times faster than an argmax across maps.
    host = maps.float().numpy()
    largest, index = host[0].copy(), np.zeros(maps.shape[1:], dtype=np.uint8)
    for number, channel in enumerate(host[1:], start=1):
        np.copyto(index, number, where=channel > largest)
        np.maximum(largest, channel, out=largest)
    return index


def _with_centerless(centers: Centers, regions: Regions) -> Centers:
    """The centers, and the centroid of each region that has none."""
    lonely = np.flatnonzero(np.bincount(centers.regions, minlength=len(regions)) == 0)
    owners = np.concatenate([centers.regions, lonely])
    order = np.argsort(owners, kind="stable")
    return Centers(
        np.concatenate([centers.yx, regions.centroids()[lonely].astype(np.int64)])[order],
        owners[order],
        np.concatenate([centers.values, np.zeros(len(lonely), np.float32)])[order],
        np.concatenate([centers.clustered, np.zeros(len(lonely), bool)])[order],
    )


def _scores(groups: Groups, centers: Centers, evidence: Evidence) -> np.ndarray:
    """(N,) center's confidence times mean class probability. A clustered center, or a value that is
    no probability, counts as the class probability (released recipe)."""
    likely = groups.means(evidence.probability)
    highest = evidence.center[groups.highest(evidence.center)]
    confident = ~centers.clustered[groups.centers] & (highest <= 1)
    return likely * np.maximum(np.where(confident, highest, likely), 0)


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
    """Instances of one image from the network's maps (paper: Eq. 1).

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
        masks (N, H, W) bool, classes (N,) int64 and scores (N,) float32 in [0, 1], the center's
        confidence times the mean class probability; on the device of the input, by class.
    """
    sem_seg_prob, center, offset = (maps.detach() for maps in (sem_seg_prob, center, offset))
    device = sem_seg_prob.device
    index_map = index_of_largest(sem_seg_prob)
    regions = find_regions(
        index_map, classes_wanted(len(center)), connectivity=8, min_area=min_area
    )
    reader = reader_of(regions, sem_seg_prob)
    probability = reader.own_channel(sem_seg_prob, BACKGROUND_INDEX)
    own_center = reader.own_channel(center, wsss_index(0))
    (columns,) = on_host([(probability, own_center, *reader.offsets(offset))])
    evidence = Evidence(*columns)
    centers = find_centers(
        regions,
        evidence,
        threshold=center_threshold,
        kernel=kernel,
        clustering=resolve_clustering(clustering),
    )
    if keep_centerless:
        centers = _with_centerless(centers, regions)
    groups = group_regions(regions, centers, evidence)
    classes = regions.values[centers.regions[groups.centers]].astype(np.int64) - 1
    scores = _scores(groups, centers, evidence).astype(np.float32)
    masks = torch.zeros(len(classes), *index_map.shape, dtype=torch.bool, device=device)
    owners, pixels = groups.owners(), regions.pixels[groups.members]
    masks.view(-1).index_fill_(0, to_device(owners * index_map.size + pixels, device), True)
    return masks, to_device(classes, device), to_device(scores, device)
