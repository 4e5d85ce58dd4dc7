"""Masks of objects: what is made of them; what pycocotools writes is one; mistakes are told."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as mask_api

from bestie_d2.data.datasets.object_masks import ObjectMap, inner_point, problem_of_mask

SIZE = (4, 5)
WHOLE = {"size": [4, 5], "counts": [0, 20]}
WRONG_RUNS = "the counts of its RLE are not those of a mask of this size"


def test_what_pycocotools_encodes_is_a_mask_and_nothing_shorter():
    random = np.random.default_rng(0)
    for size in ((1, 1), (7, 3), (90, 131), (2000, 40)):
        for share in (0.0, 0.01, 0.5, 1.0):
            mask = np.asfortranarray(random.random(size) < share).astype(np.uint8)
            rle = mask_api.encode(mask)
            assert problem_of_mask(rle, size) is None
            assert problem_of_mask({**rle, "counts": rle["counts"].decode()}, size) is None
            assert problem_of_mask({**rle, "counts": rle["counts"][:-1]}, size) == WRONG_RUNS
            assert problem_of_mask({**rle, "counts": rle["counts"] + b"1"}, size) == WRONG_RUNS


def test_uncompressed_runs_and_polygons_are_masks():
    assert problem_of_mask(WHOLE, SIZE) is None
    assert problem_of_mask({"size": (4, 5), "counts": [3, 4, 13]}, SIZE) is None
    assert problem_of_mask([[0, 0, 4, 0, 4, 3.5], [1, 1, 2, 1, 2, 2, 1, 2]], SIZE) is None


HUGE = "1" + "0" * 17 + "..." + "0" * 19  # how a number of 311 digits is shown


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        ({**WHOLE, "size": [5, 4]}, "its mask is [5, 4], its image [4, 5] (height, width)"),
        ({**WHOLE, "size": [4]}, "its RLE has the 'size' [4], expected [height, width]"),
        ({"counts": "0"}, "its RLE has the 'size' None, expected [height, width]"),
        ({"size": [4, 5]}, "its RLE has the 'counts' None, expected runs"),
        ({**WHOLE, "counts": [0, "x"]}, "its RLE has the 'counts' [0, 'x'], expected runs"),
        ({**WHOLE, "counts": [-1, 21]}, "its RLE has the 'counts' [-1, 21], expected runs"),
        (
            {"size": [4, 5], "counts": [2**32]},
            "its RLE has the 'counts' [4294967296], expected runs",
        ),
        ({**WHOLE, "counts": [0, 19]}, WRONG_RUNS),
        ({**WHOLE, "counts": ""}, WRONG_RUNS),
        ({**WHOLE, "counts": "é"}, WRONG_RUNS),
        ({**WHOLE, "counts": "\n"}, WRONG_RUNS),
        ({**WHOLE, "counts": "Oe0"}, WRONG_RUNS),  # -1 and 21
        ({**WHOLE, "counts": "o" * 30 + "0"}, WRONG_RUNS),  # a number of 31 digits
        (None, "its mask is None, expected polygons or RLE"),
        ([], "its mask is [], expected polygons or RLE"),
        ([0, 0, 1, 0, 1, 1], "its mask is [0, 0, 1, 0, 1, 1], expected polygons or RLE"),
        ([[0, 0, 4, 4]], "a polygon of 4 numbers, expected x, y of three corners or more"),
        ([[0, 0, 1, 0, 1, 1, 2]], "a polygon of 7 numbers, expected x, y of three corners or more"),
        ([[0, 0, 1, 0, 1, "1"]], "a polygon is [0, 0, 1, 0, 1, '1'], expected numbers"),
        ([[0, 0, 1, 0, 1, float("nan")]], "a polygon is [0, 0, 1, 0, 1, nan], expected numbers"),
        ([[0, 0, 1, 0, 1, 10**310]], f"a polygon is [0, 0, 1, 0, 1, {HUGE}], expected numbers"),
    ],
)
def test_mistakes_are_told(mask, problem):
    assert problem_of_mask(mask, SIZE) == problem


# -- what is made of them

NUMBERS = np.array([[9, 9, 255, 0], [9, 255, 4, 4]], np.uint8)


def test_what_is_made_of_the_objects():
    objects = ObjectMap(NUMBERS, {9: 14, 4: 7})
    assert [(c, mask.tolist()) for c, mask in objects.masks()] == [
        (7, [[False, False, False, False], [False, False, True, True]]),
        (14, [[True, True, False, False], [True, False, False, False]]),
    ]
    assert objects.semantic().tolist() == [[15, 15, 255, 0], [15, 255, 8, 8]]
    assert objects.void()["size"] == [2, 4]
    cat, person = objects.annotations()
    assert (cat["bbox"], person["bbox"]) == ([2, 1, 4, 2], [0, 0, 2, 2])
    assert (cat["bbox_mode"], cat["iscrowd"]) == (BoxMode.XYXY_ABS, 0)
    assert ObjectMap(NUMBERS * 0, {}).void() is None


@pytest.mark.parametrize(
    ("rows", "point"),
    [
        (["....", ".###", ".###", ".###"], (2, 2)),
        (["####", "#...", "#...", "#..."], (1, 0)),  # centroid (6/7, 6/7)
        (["###.", "#.#.", "###.", "...."], (1, 0)),  # a ring: four are equally near
        (["#..#"], (0, 0)),
    ],
)
def test_the_point_inside_an_object(rows, point):
    assert inner_point(np.array([[c == "#" for c in row] for row in rows])) == point


@given(arrays(bool, (7, 9), elements=st.booleans()).filter(lambda mask: mask.any()))
def test_no_pixel_of_the_object_is_nearer_to_its_centroid(mask):
    x, y = inner_point(mask)
    assert mask[y, x]
    pixels = np.argwhere(mask)
    distances = np.linalg.norm(pixels - pixels.mean(axis=0), axis=1)
    assert np.linalg.norm((y, x) - pixels.mean(axis=0)) == pytest.approx(distances.min())
