import numpy as np
import pytest

from bestie_d2.ops.components import class_components, connected_components, touching_pixels

SCENE = np.array(
    [[2, 2, 0, 0, 1, 1], [0, 0, 2, 0, 1, 1], [0, 0, 0, 0, 0, 0], [2, 255, 0, 0, 3, 0]], np.uint8
)


def test_components_of_the_asked_classes_with_their_geometry():
    squares, diagonal, single = class_components(SCENE, [0, 1], min_area=1)
    assert (squares.class_id, squares.top, squares.left, squares.area) == (0, 0, 4, 4)
    assert (diagonal.class_id, diagonal.area) == (1, 3)  # 8-connected
    assert diagonal.mask.tolist() == [[True, True, False], [False, False, True]]
    assert (single.top, single.left, single.area) == (3, 0, 1)


def test_small_components_are_dropped():
    assert [c.area for c in class_components(SCENE, [0, 1, 2], min_area=3)] == [4, 3]


def test_contains_speaks_of_the_map():
    diagonal = class_components(SCENE, [1], min_area=2)[0]
    assert diagonal.contains(1, 2)
    assert not diagonal.contains(1, 0)
    assert not diagonal.contains(-1, 0)
    assert not diagonal.contains(0, 3)


def test_four_connectivity_splits_a_diagonal():
    _, boxes, centroids = connected_components(SCENE == 2, connectivity=4)
    assert boxes[:, -1].tolist() == [2, 1, 1]
    assert centroids.tolist() == [[0.0, 0.5], [1.0, 2.0], [3.0, 0.0]]


def test_touching_pixels_are_grouped_and_rows_do_not_run_into_each_other():
    # Width 4: (0, 3) and (1, 0) follow each other but do not touch; (1, 0), (2, 1), (2, 2) do.
    pixels = np.array([10, 3, 4, 9])
    assert touching_pixels(pixels, 4).tolist() == [0, 1, 0, 0]
    assert touching_pixels(np.array([0, 2]), 4).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_touching_pixels_equal_labels_of_the_map(seed):
    random = np.random.default_rng(seed)
    mask = random.random((13, 17)) < 0.3
    pixels = random.permutation(np.flatnonzero(mask))
    labels, _, _ = connected_components(mask, connectivity=8)
    expected = labels.ravel()[pixels]
    groups = touching_pixels(pixels, mask.shape[1])
    assert len(np.unique(groups)) == len(np.unique(expected))
    assert len(np.unique(np.stack([groups, expected]), axis=1).T) == len(np.unique(expected))
