"""Connected regions of all values of a map at once, from its runs of equal pixels.

The number of array operations depends neither on how many values nor on how many regions there are.
What can be said of runs costs what the runs are; lists of pixels are made when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix, csgraph

NOWHERE = -1  # the region of a pixel that belongs to none


@dataclass(frozen=True)
class Regions:
    """Connected regions of a (H, W) map: ``K`` of them, with ``n`` pixels in ``R`` runs.

    A run is a row's stretch of pixels of one region. Lists of pixels go region by region, each in
    raster order; their places in the list are what other lists of (n,) values have in common.

    Attributes:
        values: (K,) int, the map's value on each; ascending, then in raster order of first pixels.
        starts: (R,) int64 flat index into the map at which each run begins, ascending.
        lengths: (R,) int64 pixels of each run.
        owners: (R,) int64 region ``0..K-1`` of each run.
        shape: (H, W) of the map.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    owners: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def edges(self) -> np.ndarray:
        """(K+1,) int64; region ``k`` has the places ``edges[k]:edges[k+1]``."""
        areas = np.bincount(self.owners, weights=self.lengths, minlength=len(self))
        return np.concatenate([[0], np.cumsum(areas)]).astype(np.int64)

    @property
    def areas(self) -> np.ndarray:
        """(K,) number of pixels of each."""
        return np.diff(self.edges)

    @cached_property
    def _by_region(self) -> np.ndarray:
        """(R,) the runs, region by region."""
        return np.argsort(self.owners, kind="stable")

    def _stretch(self, firsts: np.ndarray) -> np.ndarray:
        """(n,) numbers that count up along each run from what (R,) ``firsts`` say."""
        firsts, lengths = firsts[self._by_region], self.lengths[self._by_region]
        return np.repeat(firsts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())

    @cached_property
    def pixels(self) -> np.ndarray:
        """(n,) int64 flat indices into the map."""
        return self._stretch(self.starts)

    @cached_property
    def rows(self) -> np.ndarray:
        """(n,) int64 of the same pixels."""
        rows = (self.starts // self.shape[1])[self._by_region]
        return np.repeat(rows, self.lengths[self._by_region])

    @cached_property
    def columns(self) -> np.ndarray:
        """(n,) int64 of the same pixels."""
        return self._stretch(self.starts % self.shape[1])

    @cached_property
    def raster_ranks(self) -> np.ndarray:
        """(n,) int64, how many pixels of any region lie before each in raster order."""
        return self._stretch(np.cumsum(self.lengths) - self.lengths)

    def of_pixels(self) -> np.ndarray:
        """(n,) region ``0..K-1`` of each pixel."""
        return np.repeat(np.arange(len(self)), self.areas)

    def centroids(self) -> np.ndarray:
        """(K, 2) float64 mean (y, x) of the pixels of each."""
        rows, first = np.divmod(self.starts, self.shape[1])
        middles = (rows, first + (self.lengths - 1) / 2)
        sums = [np.bincount(self.owners, axis * self.lengths, len(self)) for axis in middles]
        return np.stack(sums, axis=1) / self.areas[:, None]

    def places_of(self, yx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where (m, 2) int pixels of the map are found: (m,) regions, and (m,) places in lists of
        pixels; ``NOWHERE`` for those that belong to none."""
        if len(self) == 0:
            return np.full(len(yx), NOWHERE), np.full(len(yx), NOWHERE)
        pixels = yx @ (self.shape[1], 1)
        run = np.searchsorted(self.starts, pixels, side="right") - 1
        along = pixels - self.starts[run]
        inside = (run >= 0) & (along < self.lengths[run])
        begins = np.empty(len(self.starts), dtype=np.int64)
        lengths = self.lengths[self._by_region]
        begins[self._by_region] = np.cumsum(lengths) - lengths
        return (
            np.where(inside, self.owners[run], NOWHERE),
            np.where(inside, begins[run] + along, NOWHERE),
        )

    def paint(self, values: np.ndarray, elsewhere: float) -> np.ndarray:
        """(H, W) map of the (K,) value of each region, and of another elsewhere; of its dtype."""
        ends = self.starts + self.lengths
        bounds = np.stack([self.starts, ends], axis=1).ravel()
        colors = np.full(len(bounds) + 1, elsewhere, dtype=values.dtype)
        colors[1::2] = values[self.owners]
        total = self.shape[0] * self.shape[1]
        painted = np.repeat(colors, np.diff(bounds, prepend=0, append=total))
        return painted.reshape(self.shape)


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
    return Regions(region_values[order], starts, lengths, rank[label], values.shape)


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
