"""Outlines of masks: the lattice lines between pixels, traced exactly.

Points are (x, y) as in files, in pixels with the origin at the picture's top left *corner*: pixel
``[y, x]`` covers ``[x, x + 1) x [y, y + 1)``. Along a ring the object lies at the right hand as one
looks at the picture, so that rings around it have a positive shoelace area and holes a negative
one. Pixels that touch at a corner alone belong to different parts; background is whole there.

Whoever asks of each pixel's middle whether it is inside gets the mask back exactly. No library
here does it: OpenCV's contours run through the middles of pixels, scikit-image's cut corners.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import cv2
import numpy as np
from scipy.spatial import KDTree

# (x, y) of a step to the right, down, left and up; a turn to the right is the next one.
STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
# Where the edges of pixel (0, 0) start that lead in these directions, and the pixel beyond each.
STARTS, BEYOND = ((0, 0), (1, 0), (1, 1), (0, 1)), ((0, -1), (1, 0), (0, 1), (-1, 0))
INSET = 0.1  # pixels: less than half of one, more than any rounding in files

Ring = np.ndarray  # (P, 2) int64 corners (x, y), the last one joined to the first


def trace_parts(mask: np.ndarray, top_left: tuple[int, int] = (0, 0)) -> list[list[Ring]]:
    """The parts (4-connected) of an (H, W) bool mask: the ring around each, then its holes.

    Args:
        top_left: (y, x) of the mask in the picture.
    """
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    found = [
        (int(labels[pixel]), _area(ring) < 0, ring + top_left[::-1]) for ring, pixel in _rings(mask)
    ]
    found.sort(key=itemgetter(0, 1))
    return [[ring for *_, ring in part] for _, part in groupby(found, key=itemgetter(0))]


def _rings(mask: np.ndarray) -> Iterator[tuple[Ring, tuple[int, int]]]:
    """Each ring and a pixel [y, x] of the object beside it."""
    padded, stride = np.pad(mask, 1), mask.shape[1] + 1
    edges: dict[int, None] = {}  # 4 x the lattice point where an edge starts + its direction
    for direction, ((x, y), (dx, dy)) in enumerate(zip(STARTS, BEYOND, strict=True)):
        beyond = padded[1 + dy : 1 + dy + mask.shape[0], 1 + dx : 1 + dx + mask.shape[1]]
        rows, columns = np.nonzero(mask & ~beyond)
        starts = (rows + y) * stride + columns + x
        edges.update(dict.fromkeys((4 * starts + direction).tolist()))
    ahead = (4 * (STEPS @ (1, stride))).tolist()
    while edges:
        first = edge = next(iter(edges))
        corners = []
        while True:
            del edges[edge]
            direction = edge & 3
            point = edge - direction + ahead[direction]
            for turn in (1, 0, 3):  # right first: the object's pixel of this edge stays beside it
                follower = point + ((direction + turn) & 3)
                if follower in edges or follower == first:
                    break
            if turn:
                corners.append(point >> 2)
            edge = follower
            if edge == first:
                break
        y, x = divmod(first >> 2, stride)
        dx, dy = STARTS[first & 3]
        yield np.stack(np.divmod(corners, stride)[::-1], axis=1), (y - dy, x - dx)


def _area(ring: Ring) -> int:
    """Twice its signed area."""
    x, y = ring.T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def split_where_it_touches(ring: Ring) -> list[Ring]:
    """Rings that visit no point twice, in place of one that touches itself: the first one is around
    the others, as the definition of simple features wants it."""
    rings: list[Ring] = []
    path: list[tuple[int, ...]] = []
    visited: dict[tuple[int, ...], int] = {}  # where on the path each point is
    for point in map(tuple, ring.tolist()):
        if point in visited:
            start = visited[point]
            rings.append(np.array(path[start:]))
            for passed in path[start + 1 :]:
                del visited[passed]
            del path[start + 1 :]
        else:
            visited[point] = len(path)
            path.append(point)
    return sorted([*rings, np.array(path)], key=_area, reverse=True)


def join_holes(part: Sequence[Ring]) -> Ring:
    """One ring for a part, for formats that know no holes: a slit of no width leads from the left
    end of each hole, along a row of pixels, to what lies next to it."""
    joined, holes = part[0], part[1:]
    for hole in sorted(holes, key=lambda ring: ring[:, 0].min()):  # what a slit hits is joined
        start = np.lexsort((hole[:, 1], hole[:, 0]))[0]
        x, y = hole[start]
        following = np.roll(joined, -1, axis=0)
        spans = np.sort(np.stack([joined[:, 1], following[:, 1]]), axis=0)
        hit = (joined[:, 0] == following[:, 0]) & (spans[0] <= y) & (y <= spans[1])
        edge = int(np.argmax(np.where(hit & (joined[:, 0] < x), joined[:, 0], -1)))
        end = [(joined[edge, 0], y)]
        slit = [*end, *np.roll(hole, -start, axis=0), hole[start], *end]
        joined = _corners(np.concatenate([joined[: edge + 1], slit, joined[edge + 1 :]]))
    return joined


def _corners(ring: Ring) -> Ring:
    """A ring without points that repeat the one before, or lie on a straight line."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    steps = np.sign(np.roll(ring, -1, axis=0) - ring)
    return ring[(steps != np.roll(steps, 1, axis=0)).any(axis=1)]


def inset(ring: Ring) -> np.ndarray:
    """(P, 2) float64: a ring drawn a little into the object.

    Cut to whole numbers it runs through the outermost pixels, so that those who fill polygons with
    their border (OpenCV's ``fillPoly``, Pillow's ``polygon``) get the mask back exactly, too.
    """
    steps = np.sign(np.roll(ring, -1, axis=0) - ring)
    inward = steps[:, ::-1] * (-1, 1)
    return ring + INSET * (inward + np.roll(inward, 1, axis=0))


def join_parts(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon of several, for formats that know no parts: a thin line leads from each to the
    point of those before it that is nearest."""
    joined = parts[0]
    for part in parts[1:]:
        distances, nearest = KDTree(joined).query(part)
        there = int(np.argmin(distances))
        here = int(nearest[there])
        around = np.roll(part, -there, axis=0)
        joined = np.concatenate([joined[: here + 1], around, around[:1], joined[here:]])
    return joined
