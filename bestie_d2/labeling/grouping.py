"""Instance grouping: center and offset maps -> instances (paper: Eq. 1 and Appendix).

Every component of the semantic map is grouped by itself, inside its own crop and on flat lists of
its pixels, so that the cost follows the foreground, not the number of instances.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.components import Component, class_components, connected_components
from bestie_d2.ops.heatmap import local_maxima
from bestie_d2.ops.offsets import nearest_center, vote


@dataclass(frozen=True)
class CenterClustering:
    """Finding centers in the offset map (paper: Appendix, Figure 9). Lengths in pixels.

    Attributes:
        magnitude: a center's pixels have shorter offsets than this (2.5).
        area: the pixels that such a spot should cover (21) ...
        area_tolerance: ... give or take fewer than this (epsilon = 3).
        min_center: the center map's smallest value at the spot (released recipe: 0.05).
        min_distance: to every local maximum of the center map (released recipe: 100).
    """

    magnitude: float = 2.5
    area: int = 21
    area_tolerance: int = 3
    min_center: float = 0.05
    min_distance: float = 100.0


def resolve_clustering(clustering: bool | CenterClustering) -> CenterClustering | None:
    """The released values for True, nothing for False."""
    if isinstance(clustering, bool):
        return CenterClustering() if clustering else None
    return clustering


@dataclass(frozen=True)
class Instance:
    """Some pixels of a component that vote for one center.

    Attributes:
        class_id: class ``0..C-1``.
        rows, columns: (n,) int pixels of the map, n >= 1.
        center: (y, x) pixel of the center that gathered them.
        clustered: the center was found in the offset map, not in the center map.
    """

    class_id: int
    rows: np.ndarray
    columns: np.ndarray
    center: tuple[int, int]
    clustered: bool

    def highest(self, center_map: np.ndarray) -> tuple[float, tuple[int, int]]:
        """The largest value of a (H, W) map on the instance, and the pixel (y, x) it is at."""
        values = center_map[self.rows, self.columns]
        best = int(values.argmax())
        return float(values[best]), (int(self.rows[best]), int(self.columns[best]))


def cluster_centers(
    component: Component, center: np.ndarray, offset: np.ndarray, recipe: CenterClustering
) -> np.ndarray:
    """Centers of a component that only its offsets show.

    Args:
        center: (H, W) float32 center map of the component's class.
        offset: (2, H, W) float32.

    Returns:
        (N, 2) int (y, x): the whole pixel under the mean of each spot of short offsets.
    """
    rows, columns = component.window
    dy, dx = offset[:, rows, columns]
    short = (dy * dy + dx * dx < recipe.magnitude**2) & component.mask
    _, boxes, centroids = connected_components(short, connectivity=4)
    fits = np.abs(boxes[:, -1] - recipe.area) < recipe.area_tolerance
    spots = centroids[fits].astype(np.int64) + np.array([component.top, component.left])
    certain = [
        component.contains(y, x) and center[y, x] > recipe.min_center for y, x in spots.tolist()
    ]
    return spots[np.array(certain, dtype=bool)]


def find_centers(
    component: Component,
    center: np.ndarray,
    offset: np.ndarray,
    *,
    threshold: float,
    kernel: int,
    clustering: CenterClustering | None,
) -> tuple[np.ndarray, int]:
    """All centers of a component: peaks of the center map, then those that clustering adds.

    Returns:
        (N, 2) int (y, x), and how many of them, the first ones, are peaks.
    """
    crop = center[component.window]
    inside = np.where(component.mask & (crop > threshold), crop, 0)
    corner = np.array([component.top, component.left])
    peaks = local_maxima(inside, kernel) + corner
    if clustering is None:
        return peaks, len(peaks)
    spots = cluster_centers(component, center, offset, clustering)
    if len(peaks) and len(spots):
        distance = np.linalg.norm(spots[:, None] - peaks[None], axis=-1)
        spots = spots[(distance > clustering.min_distance).all(axis=1)]
    return np.concatenate([peaks, spots]), len(peaks)


def group_component(
    component: Component, centers: np.ndarray, num_peaks: int, offset: np.ndarray
) -> list[Instance]:
    """Split a component by the center that each pixel votes for; centers without votes drop out."""
    rows, columns = component.pixels()
    assigned = nearest_center(*vote(offset, rows, columns), centers)
    order = np.argsort(assigned, kind="stable")
    edges = np.cumsum(np.bincount(assigned, minlength=len(centers)))[:-1]
    return [
        Instance(component.class_id, rows[part], columns[part], (int(y), int(x)), k >= num_peaks)
        for k, (part, (y, x)) in enumerate(zip(np.split(order, edges), centers, strict=True))
        if len(part)
    ]


def group_map(
    index_map: np.ndarray,
    classes: Iterable[int],
    center: np.ndarray,
    offset: np.ndarray,
    *,
    min_area: int,
    threshold: float,
    kernel: int,
    clustering: CenterClustering | None,
) -> list[tuple[Component, list[Instance]]]:
    """Group the components of some classes; the list is empty for one without any center."""
    grouped = []
    for component in class_components(index_map, classes, min_area):
        centers, num_peaks = find_centers(
            component,
            center[component.class_id],
            offset,
            threshold=threshold,
            kernel=kernel,
            clustering=clustering,
        )
        instances = group_component(component, centers, num_peaks, offset) if len(centers) else []
        grouped.append((component, instances))
    return grouped


def index_of_largest(maps: np.ndarray) -> np.ndarray:
    """(H, W) uint8 index of the largest of (K, H, W) maps, the first one on a tie.

    Map by map, which reads memory in its order: several times faster than an argmax across maps.
    """
    largest, index = maps[0].copy(), np.zeros(maps.shape[1:], dtype=np.uint8)
    for number, channel in enumerate(maps[1:], start=1):
        larger = channel > largest
        index[larger] = number
        np.maximum(largest, channel, out=largest)
    return index


def _confidence(instance: Instance, center: np.ndarray, class_probability: float) -> float:
    """How sure the center is; a clustered one, or a value that is no probability, counts as the
    class probability (released recipe)."""
    if instance.clustered:
        return class_probability
    highest, _ = instance.highest(center)
    return highest if highest <= 1 else class_probability


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
    probability, host_center, host_offset = (
        t.detach().float().cpu().numpy() for t in (sem_seg_prob, center, offset)
    )
    index_map = index_of_largest(probability)
    present = np.flatnonzero(np.bincount(index_map.ravel(), minlength=len(probability))[1:])
    grouped = group_map(
        index_map,
        present.tolist(),
        host_center,
        host_offset,
        min_area=min_area,
        threshold=center_threshold,
        kernel=kernel,
        clustering=resolve_clustering(clustering),
    )
    instances = []
    for component, found in grouped:
        if not found and keep_centerless:
            y, x = component.centroid
            rows, columns = component.pixels()
            found = [Instance(component.class_id, rows, columns, (int(y), int(x)), False)]
        instances.extend(found)
    masks = torch.zeros(len(instances), *index_map.shape, dtype=torch.bool)
    scores = torch.zeros(len(instances))
    for index, instance in enumerate(instances):
        masks.numpy()[index, instance.rows, instance.columns] = True
        class_map = probability[instance.class_id + 1]
        likely = float(class_map[instance.rows, instance.columns].mean())
        scores[index] = likely * max(
            _confidence(instance, host_center[instance.class_id], likely), 0
        )
    classes = torch.tensor([instance.class_id for instance in instances], dtype=torch.int64)
    device = sem_seg_prob.device
    return masks.to(device), classes.to(device), scores.to(device)
