"""Objects of an image, and what is made of them."""

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bestie_d2.data.datasets.objects import ObjectMap, inner_point

NUMBERS = np.array([[9, 9, 255, 0], [9, 255, 4, 4]], np.uint8)


def test_what_is_made_of_the_objects():
    objects = ObjectMap(NUMBERS, {9: 14, 4: 7})
    assert [(c, mask.tolist()) for c, mask in objects.masks()] == [
        (7, [[False, False, False, False], [False, False, True, True]]),
        (14, [[True, True, False, False], [True, False, False, False]]),
    ]
    assert objects.semantic().tolist() == [[15, 15, 255, 0], [15, 255, 8, 8]]
    assert objects.points() == [(2, 1, 7), (0, 0, 14)]
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
