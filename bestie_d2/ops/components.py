"""Connected components as windows of a map, for whoever looks at them one by one.

Arrays live on the host. A component carries the crop that bounds it, so that whatever is done with
it costs what its own area costs, not what the map's does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from scipy.sparse import coo_matrix, csgraph

from bestie_d2.ops.regions import find_regions
from bestie_d2.structures import IGNORE_INDEX, wsss_index


@dataclass(frozen=True)
class Component:
    """One connected region of one class.

    Attributes:
        class_id: class ``0..C-1``.
        top, left: pixel of the map at which ``mask`` begins.
        mask: (h, w) bool, the region inside its bounding box.
        area: number of pixels.
    """

    class_id: int
    top: int
    left: int
    mask: np.ndarray
    area: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The bounding box as an index into (..., H, W) arrays."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def contains(self, y: int, x: int) -> bool:
        row, column = y - self.top, x - self.left
        height, width = self.mask.shape
        return 0 <= row < height and 0 <= column < width and bool(self.mask[row, column])


def connected_components(
    mask: np.ndarray, connectivity: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the true regions of a (H, W) bool mask, numbered from 1 in raster order.

    Returns:
        labels (H, W) int32 with 0 outside; boxes (N, 5) int of left, top, width, height and area;
        centroids (N, 2) float (y, x). Row ``i`` belongs to label ``i + 1``.
    """
    _, labels, stats, centroids = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=connectivity
    )
    return labels, stats[1:], centroids[1:, ::-1]


def touching_pixels(pixels: np.ndarray, width: int) -> np.ndarray:
    """8-connected groups of a few pixels of a large map, without going over the map.

    Args:
        pixels: (n,) int64 flat indices, each once, in any order.
        width: of the map.

    Returns:
        (n,) int group of each pixel, ``0..`` and on; a pixel that touches none is a group alone.
    """
    order = np.argsort(pixels)
    ascending = pixels[order]
    column = ascending % width
    pairs = []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):  # the other half is seen from the neighbor
        neighbor = ascending + dy * width + dx
        place = np.minimum(np.searchsorted(ascending, neighbor), len(pixels) - 1)
        found = (ascending[place] == neighbor) & (column + dx >= 0) & (column + dx < width)
        pairs.append(np.stack([order[found], order[place[found]]]))
    a, b = np.concatenate(pairs, axis=1)
    if len(a) == 0:
        return np.arange(len(pixels))
    graph = coo_matrix((np.ones(len(a), dtype=bool), (a, b)), shape=(len(pixels), len(pixels)))
    return csgraph.connected_components(graph, directed=False)[1]


def class_components(
    index_map: np.ndarray, classes: Iterable[int], min_area: int
) -> list[Component]:
    """8-connected components of each class that cover at least ``min_area`` pixels.

    Args:
        index_map: (H, W) WSSS indices.
        classes: the class ids ``0..C-1`` to look for; other indices are passed over.
        min_area: smaller components are dropped.

    Returns:
        By class, then in raster order of their first pixels.
    """
    wanted = np.zeros(IGNORE_INDEX + 1, dtype=bool)
    wanted[[wsss_index(class_id) for class_id in classes]] = True
    regions = find_regions(index_map, wanted, connectivity=8, min_area=min_area)
    return [
        _component(int(value) - 1, regions.rows[start:stop], regions.columns[start:stop])
        for value, (start, stop) in zip(regions.values, pairwise(regions.edges), strict=True)
    ]


def _component(class_id: int, rows: np.ndarray, columns: np.ndarray) -> Component:
    top, left = int(rows.min()), int(columns.min())
    mask = np.zeros((int(rows.max()) + 1 - top, int(columns.max()) + 1 - left), dtype=bool)
    mask[rows - top, columns - left] = True
    return Component(class_id, top, left, mask, len(rows))
