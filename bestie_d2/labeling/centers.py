"""The centers of regions: peaks of the center map, and spots of short offsets (paper: Appendix).

``K`` regions with ``n`` pixels in all; maps are read at these pixels alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bestie_d2.labeling.evidence import Evidence
from bestie_d2.ops.heatmap import local_maxima
from bestie_d2.ops.regions import Regions, find_regions


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
class Centers:
    """``M`` centers, region by region; in each, peaks by raster order, then clustered ones.

    Attributes:
        yx: (M, 2) int64 pixels.
        regions: (M,) int64, ascending.
        values: (M,) float32 of the center map there.
        clustered: (M,) bool; found in the offset map, not in the center map.
    """

    yx: np.ndarray
    regions: np.ndarray
    values: np.ndarray
    clustered: np.ndarray


def find_centers(
    regions: Regions,
    evidence: Evidence,
    *,
    threshold: float,
    kernel: int,
    clustering: CenterClustering | None,
) -> Centers:
    """Peaks of the center map above ``threshold``, and what clustering adds to them.

    Args:
        kernel: odd side of the window in which a peak is the largest of its region, in pixels.
    """
    yx, owners = _peaks(regions, evidence.center, threshold, kernel)
    clustered = np.zeros(len(yx), dtype=bool)
    if clustering is not None:
        spots, spot_owners = _spots(regions, evidence, clustering)
        far = _far_from_peaks(spots, spot_owners, yx, owners, clustering.min_distance)
        yx = np.concatenate([yx, spots[far]])
        owners = np.concatenate([owners, spot_owners[far]])
        clustered = np.concatenate([clustered, np.ones(far.sum(), dtype=bool)])
    order = np.argsort(owners, kind="stable")
    _, places = regions.places_of(yx[order])
    return Centers(yx[order], owners[order], evidence.center[places], clustered[order])


def _peaks(
    regions: Regions, center: np.ndarray, threshold: float, kernel: int
) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) local maxima, each region looked at by itself, and (M,) their regions."""
    above = np.flatnonzero(center > max(threshold, 0))
    edges = np.searchsorted(above, regions.edges)
    found, owners = [np.zeros((0, 2), dtype=np.int64)], []
    for region in np.flatnonzero(np.diff(edges)):
        pixels = above[edges[region] : edges[region + 1]]
        rows, columns = regions.rows[pixels], regions.columns[pixels]
        corner = np.array([rows[0], columns.min()])
        crop = np.zeros((rows[-1] + 1 - corner[0], columns.max() + 1 - corner[1]), np.float32)
        crop[rows - corner[0], columns - corner[1]] = center[pixels]
        found.append(local_maxima(crop, kernel) + corner)
        owners += [region] * len(found[-1])
    return np.concatenate(found), np.array(owners, dtype=np.int64)


def _spots(
    regions: Regions, evidence: Evidence, recipe: CenterClustering
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) whole pixel under the mean of each spot of short offsets, and (N,) its region."""
    squared = evidence.offset_y**2 + evidence.offset_x**2
    short = np.flatnonzero(squared < recipe.magnitude**2)
    marked = np.zeros(regions.shape, dtype=np.uint32)  # regions count from 1 here
    marked.reshape(-1)[regions.pixels[short]] = regions.of_pixels()[short] + 1
    wanted = np.arange(len(regions) + 1) > 0
    spots = find_regions(marked, wanted, connectivity=4)
    yx, owners = spots.centroids().astype(np.int64), spots.values.astype(np.int64) - 1
    hit, places = regions.places_of(yx)
    fits = (np.abs(spots.areas - recipe.area) < recipe.area_tolerance) & (hit == owners)
    fits[fits] = evidence.center[places[fits]] > recipe.min_center
    return yx[fits], owners[fits]


def _far_from_peaks(
    spots: np.ndarray,
    spot_owners: np.ndarray,
    peaks: np.ndarray,
    owners: np.ndarray,
    min_distance: float,
) -> np.ndarray:
    """(N,) bool: whether a spot is farther than that from every peak of its own region."""
    distance = np.linalg.norm(spots[:, None] - peaks[None], axis=-1)
    return ((distance > min_distance) | (spot_owners[:, None] != owners)).all(axis=1)
