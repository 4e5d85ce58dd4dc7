"""Connected regions of all values of a map at once, from its runs of equal pixels.

The number of array operations depends neither on how many values nor on how many regions there are,
and what is kept costs what the regions' own pixels cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csgraph

NOWHERE = -1  # the region of a pixel that belongs to none


@dataclass(frozen=True)
class Regions:
    """Connected regions of a (H, W) map: ``K`` of them, with ``n`` pixels in all.

    Attributes:
        values: (K,) int, the map's value on each; ascending, then in raster order of first pixels.
        edges: (K+1,) int; region ``k`` has the pixels ``edges[k]:edges[k+1]``.
        pixels: (n,) int64 flat indices into the map, region by region, each in raster order.
        rows, columns: (n,) int64 of the same pixels.
        shape: (H, W) of the map.
    """

    values: np.ndarray
    edges: np.ndarray
    pixels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def areas(self) -> np.ndarray:
        """(K,) number of pixels of each."""
        return np.diff(self.edges)

    def centroids(self) -> np.ndarray:
        """(K, 2) float64 mean (y, x) of the pixels of each."""
        if len(self) == 0:
            return np.zeros((0, 2))
        sums = [np.add.reduceat(axis, self.edges[:-1]) for axis in (self.rows, self.columns)]
        return np.stack(sums, axis=1) / self.areas[:, None]

    def of_pixels(self) -> np.ndarray:
        """(n,) region ``0..K-1`` of each pixel."""
        return np.repeat(np.arange(len(self)), self.areas)

    def as_map(self) -> np.ndarray:
        """(H, W) int32 region of each pixel of the map, ``NOWHERE`` outside of all."""
        labels = np.full(self.shape, NOWHERE, dtype=np.int32)
        labels.reshape(-1)[self.pixels] = self.of_pixels()
        return labels


def find_regions(
    values: np.ndarray, wanted: np.ndarray, *, connectivity: int, min_area: int = 1
) -> Regions:
    """The connected regions of equal value.

    Args:
        values: (H, W) of an unsigned type.
        wanted: (V,) bool, which values to look for; V is above the largest one in the map.
        connectivity: 8, or 4 to keep apart what touches in corners alone.
        min_area: smaller regions are dropped, in pixels.
    """
    starts, lengths = _runs(values, wanted)
    label = _connect(starts, lengths, values, reach=int(connectivity == 8))
    return _collect(starts, lengths, label, values, min_area)


def regions_of_values(values: np.ndarray, wanted: np.ndarray, *, min_area: int = 1) -> Regions:
    """All pixels of a value as one region, connected or not; otherwise as :func:`find_regions`."""
    starts, lengths = _runs(values, wanted)
    return _collect(starts, lengths, values.reshape(-1)[starts], values, min_area)


def _collect(
    starts: np.ndarray, lengths: np.ndarray, label: np.ndarray, values: np.ndarray, min_area: int
) -> Regions:
    """The runs of each label as a region."""
    large = np.bincount(label, weights=lengths)[label] >= min_area
    starts, lengths, label = starts[large], lengths[large], label[large]

    _, first, label = np.unique(label, return_index=True, return_inverse=True)
    region_values = values.reshape(-1)[starts[first]]
    order = np.lexsort((first, region_values))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    region = rank[label]
    edges = np.concatenate([[0], np.cumsum(np.bincount(region, lengths, len(order)))])

    by_region = np.argsort(region, kind="stable")
    starts, lengths = starts[by_region], lengths[by_region]
    pixels = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    width = values.shape[1]
    rows = np.repeat(starts // width, lengths)
    columns = pixels - rows * width
    return Regions(
        region_values[order], edges.astype(np.int64), pixels, rows, columns, values.shape
    )


def _runs(values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R,) flat index at which each run of equal pixels in a row begins, and (R,) its length."""
    begins = np.ones(values.shape, dtype=bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=values.size)
    used = wanted[values.reshape(-1)[starts]]
    return starts[used], lengths[used]


def _connect(starts: np.ndarray, lengths: np.ndarray, values: np.ndarray, reach: int) -> np.ndarray:
    """(R,) group of each run: runs of one value that touch across rows, by up to ``reach`` pixels
    beside each other."""
    width = values.shape[1]
    run_values = values.reshape(-1)[starts]
    begin = starts + starts // width  # rows one pixel apart, lest an end touches the next beginning
    end = begin + lengths
    above = width + 1
    low = np.searchsorted(end, begin - above - reach, side="right")
    high = np.searchsorted(begin, end - above + reach, side="left")
    counts = np.maximum(high - low, 0)
    run = np.repeat(np.arange(len(starts)), counts)
    other = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    same = run_values[run] == run_values[other]
    run, other = run[same], other[same]
    graph = coo_matrix((np.ones(len(run), dtype=bool), (run, other)), shape=(len(starts),) * 2)
    return csgraph.connected_components(graph, directed=False)[1]
