"""Connected components of a map of class indices, as flat lists of their pixels.

They are found on the host: in training by the loader's workers, at inference from the predicted
map. What follows works on the lists, on whatever device they are brought to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csgraph

from bestie_d2.structures import IGNORE_INDEX, NOWHERE, Components, wsss_index


def find_components(
    index_map: np.ndarray, classes: Iterable[int], *, min_area: int = 1
) -> Components:
    """The 8-connected components of each class, by class, then in raster order of first pixels.

    Args:
        index_map: (H, W) uint8 WSSS indices.
        classes: ids ``0..C-1`` of those to look for.
        min_area: smaller components are dropped, in pixels.
    """
    class_of = np.full(IGNORE_INDEX + 1, NOWHERE)
    ids = np.array([*classes], dtype=np.int64)
    class_of[wsss_index(ids)] = ids
    starts, ends = _runs(index_map)
    values = class_of[index_map.reshape(-1)[starts]]
    starts, ends, values = (column[values != NOWHERE] for column in (starts, ends, values))
    # Runs of a row touch those above that end behind their beginning and begin before their end.
    above = index_map.shape[1] + 1
    begin, end = (column + starts // (above - 1) for column in (starts, ends))  # rows set apart
    low = np.searchsorted(end, begin - above, side="left")
    counts = np.maximum(np.searchsorted(begin, end - above, side="right") - low, 0)
    run = np.repeat(np.arange(len(starts)), counts)
    other = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(len(run))
    same = values[run] == values[other]
    groups = _groups(run[same], other[same], len(starts))[1]
    return _collect(starts, ends, groups, values, index_map.shape, min_area)


def regions_of_map(instance_map: np.ndarray, classes: Sequence[int]) -> Components:
    """The regions, connected or not, that a (H, W) map of an unsigned type tells apart: ``n`` on
    the pixels of region ``n - 1``, one of ``classes`` each; other values belong to none."""
    starts, ends = _runs(instance_map)
    numbers = instance_map.reshape(-1)[starts].astype(np.int64)
    known = (numbers > 0) & (numbers <= len(classes))
    starts, ends, numbers = starts[known], ends[known], numbers[known] - 1
    values = np.array([*classes], dtype=np.int64)[numbers]
    return _collect(starts, ends, numbers, values, instance_map.shape, 1)


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices at which runs of one value in a row of a (H, W) map begin, and end before."""
    begins = np.ones(values.shape, dtype=bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    return starts, np.append(starts[1:], values.size)


def _groups(a: np.ndarray, b: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    """How many groups ``count`` things form, of which each of ``a`` belongs to that of ``b``, and
    (count,) the group of each, numbered by their first members."""
    if len(a) == 0:
        return count, np.arange(count)
    graph = coo_matrix((np.ones(len(a), dtype=bool), (a, b)), shape=(count, count))
    return csgraph.connected_components(graph, directed=False)


def _collect(
    starts: np.ndarray,
    ends: np.ndarray,
    groups: np.ndarray,
    classes: np.ndarray,
    shape: tuple[int, int],
    min_area: int,
) -> Components:
    """The regions that runs of a group make up, by class and then by group."""
    large = np.bincount(groups, weights=ends - starts)[groups] >= min_area
    starts, ends, classes = starts[large], ends[large], classes[large]
    _, first, groups = np.unique(groups[large], return_index=True, return_inverse=True)
    order = np.argsort(classes[first], kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    owners, count = rank[groups], len(order)

    rows, left = np.divmod(starts, shape[1])
    lengths = ends - starts
    low, high = np.full((count, 2), max(shape)), np.zeros((count, 2), dtype=np.int64)
    for axis, (begin, end) in enumerate(((rows, rows + 1), (left, left + lengths))):
        np.minimum.at(low[:, axis], owners, begin)
        np.maximum.at(high[:, axis], owners, end)
    pixels = np.repeat((starts - np.cumsum(lengths) + lengths).astype(np.int32), lengths)
    pixels += np.arange(len(pixels), dtype=np.int32)
    return Components(
        pixels,
        np.repeat(owners.astype(np.int32), lengths),
        classes[first][order],
        np.bincount(owners, lengths, count).astype(np.int64),
        np.concatenate([low, high - low], axis=1),
        shape,
    )


def part_of(components: Components, first: int, end: int) -> tuple[Components, np.ndarray]:
    """Those from ``first`` to before ``end``, one or more, and (m,) where their pixels stand in the
    lists of all. No more than the rows that they lie in is searched: many parts cost little more
    than one, without the memory that sorting all pixels by their owners takes."""
    boxes, width = components.boxes[first:end], components.shape[1]
    begin, last = boxes[:, 0].min() * width, (boxes[:, 0] + boxes[:, 2]).max() * width - 1
    # Of the lists' own type, or searching would copy them.
    low = np.searchsorted(components.pixels, np.int32(begin))
    high = np.searchsorted(components.pixels, np.int32(last), side="right")
    owners = components.owners[low:high]
    inside = low + np.flatnonzero((owners >= first) & (owners < end))
    part = Components(
        components.pixels[inside],
        components.owners[inside] - np.int32(first),
        components.classes[first:end],
        components.areas[first:end],
        boxes,
        components.shape,
    )
    return part, inside


def crops_of_parts(
    parts: np.ndarray, pixels: np.ndarray, count: int, width: int
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Top left (y, x) and (h, w) bool crop of each of the (n,) parts ``0..count-1`` of ascending
    (n,) pixels of a picture of this width; larger numbers are of no part."""
    order = np.argsort(parts, kind="stable")
    ends = np.cumsum(np.bincount(parts, minlength=count)[:count])
    for own in np.split(pixels[order], ends)[:count]:
        rows, columns = np.divmod(own, width)
        top, left = int(rows[0]), int(columns.min())
        mask = np.zeros((int(rows[-1]) - top + 1, int(columns.max()) - left + 1), dtype=bool)
        mask[rows - top, columns - left] = True
        yield (top, left), mask


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
    return _groups(a, b, len(key))


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
