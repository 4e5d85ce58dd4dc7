"""Connected components of a map of class indices, as flat lists of their pixels.

They are found on the host: in training by the loader's workers, at inference from the predicted
map. What follows works on the lists, on whatever device they are brought to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix, csgraph
from skimage import measure

from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, NOWHERE, Components, wsss_index


def find_components(
    index_map: np.ndarray, classes: Iterable[int], *, min_area: int = 1
) -> Components:
    """The 8-connected components of each class, by class, then in raster order of first pixels.

    Args:
        index_map: (H, W) uint8 WSSS indices.
        classes: ids ``0..C-1`` of those to look for.
        min_area: smaller components are dropped, in pixels.
    """
    wanted = np.zeros(IGNORE_INDEX + 1, dtype=np.uint8)
    indices = wsss_index(np.array([*classes], dtype=np.int64))
    wanted[indices] = indices
    sought = wanted[index_map]
    labels = measure.label(sought, background=BACKGROUND_INDEX, connectivity=2)  # in raster order
    return _collect(labels, sought, np.arange(len(wanted)) - 1, min_area)


def regions_of_map(instance_map: np.ndarray, classes: Sequence[int]) -> Components:
    """The regions, connected or not, that a (H, W) map of an unsigned type tells apart: ``n`` on
    the pixels of region ``n - 1``, one of ``classes`` each; other values belong to none."""
    known = np.where(instance_map <= len(classes), instance_map, 0).astype(np.int32)
    return _collect(known, known, np.array([NOWHERE, *classes]), 1)


def _collect(
    labels: np.ndarray, values: np.ndarray, class_of: np.ndarray, min_area: int
) -> Components:
    """The regions that (H, W) labels number from 1 on, of the class that ``class_of`` knows the
    (H, W) value there by."""
    areas = np.bincount(labels.reshape(-1))
    large = np.flatnonzero((areas >= max(min_area, 1)) & (np.arange(len(areas)) > 0))
    number = np.zeros(len(areas), dtype=np.int32)
    number[large] = np.arange(len(large)) + 1
    numbered = number[labels]
    pixels = np.flatnonzero(numbered)
    owners = numbered.reshape(-1)[pixels] - 1
    classes = np.zeros(len(large), dtype=np.int64)
    classes[owners] = class_of[values.reshape(-1)[pixels]]
    order = np.argsort(classes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    windows = ndimage.find_objects(numbered, len(large)) if len(large) else []
    boxes = [(y.start, x.start, y.stop - y.start, x.stop - x.start) for y, x in windows]
    return Components(
        pixels.astype(np.int32),
        rank.astype(np.int32)[owners],
        classes[order],
        areas[large][order],
        np.array(boxes, dtype=np.int64).reshape(-1, 4)[order],
        labels.shape,
    )


def touching_pixels(
    yx: np.ndarray, owners: np.ndarray, *, connectivity: int
) -> tuple[int, np.ndarray]:
    """Connected groups among a few pixels of a large map, without going over the map.

    Args:
        yx: (n, 2) int.
        owners: (n,) int; pixels of different ones do not touch.

    Returns:
        The number of groups, and (n,) int group of each pixel.
    """
    if len(yx) == 0:
        return 0, np.zeros(0, dtype=np.int64)
    y, x = yx.T - yx.min(axis=0)[:, None]
    width = x.max() + 2  # one more, lest a row's end touches the next one's beginning
    key = (owners.astype(np.int64) * (y.max() + 2) + y) * width + x
    order = np.argsort(key)
    ascending = key[order]
    pairs = []
    for step in (1, width) if connectivity == 4 else (1, width - 1, width, width + 1):
        index = np.searchsorted(ascending, ascending + step).clip(max=len(key) - 1)
        found = ascending[index] == ascending + step  # the other half is seen from the neighbor
        pairs.append(np.stack([order[found], order[index[found]]]))
    a, b = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(len(a), dtype=bool), (a, b)), shape=(len(key), len(key)))
    return csgraph.connected_components(graph, directed=False)


def side_by_side(sizes: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Place windows on one sheet, in rows of falling height.

    Args:
        sizes: (K, 2) int height and width of each.

    Returns:
        (K, 2) top and left of each, and the sheet's (H, W).
    """
    corners = np.zeros_like(sizes)
    width = max(int(sizes[:, 1].max(initial=1)), int(sizes.prod(axis=1).sum() ** 0.5))
    top = left = bottom = 0
    for number in np.argsort(-sizes[:, 0], kind="stable"):
        if left + sizes[number, 1] > width:
            top, left = bottom, 0
        corners[number] = top, left
        left += int(sizes[number, 1])
        bottom = max(bottom, top + int(sizes[number, 0]))
    return corners, (bottom, width)
