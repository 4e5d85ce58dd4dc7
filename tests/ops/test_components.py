import numpy as np
import pytest
import torch
from scipy import ndimage

from bestie_d2.ops.components import (
    crops_of_parts,
    find_components,
    part_of,
    regions_of_map,
    side_by_side,
    touching_pixels,
)
from bestie_d2.structures import NOWHERE, PointCues

SCENE = np.array(
    [[2, 2, 0, 0, 1, 1], [0, 0, 2, 0, 1, 1], [2, 0, 0, 0, 0, 2], [0, 255, 0, 0, 3, 0]], np.uint8
)


def pixels_of(found, k: int) -> list[list[int]]:
    return np.argwhere(found.masks()[k]).tolist()


def test_components_by_class_then_raster_order():
    found = find_components(SCENE, range(20))
    assert found.classes.tolist() == [0, 1, 1, 1, 2]
    assert found.areas.tolist() == [4, 3, 1, 1, 1]
    assert pixels_of(found, 1) == [[0, 0], [0, 1], [1, 2]]  # 8-connected
    # (2, 5) and (2, 0) are neighbors of each other's rows in memory alone
    assert [pixels_of(found, k) for k in (2, 3)] == [[[2, 0]], [[2, 5]]]
    assert found.boxes[:2].tolist() == [[0, 4, 2, 2], [0, 0, 2, 3]]
    assert found.centroids()[:2] == pytest.approx(np.array([[0.5, 4.5], [1 / 3, 1]]))
    assert (np.diff(found.pixels) > 0).all()


def test_small_and_unwanted_components_are_dropped():
    found = find_components(SCENE, [1], min_area=3)
    assert (found.classes.tolist(), found.areas.tolist()) == ([1], [3])


def test_what_lies_where():
    found = find_components(SCENE, range(20))
    every = np.argwhere(np.ones_like(SCENE))
    assert found.at(every).reshape(SCENE.shape).tolist() == [
        [1, 1, NOWHERE, NOWHERE, 0, 0],
        [NOWHERE, NOWHERE, 1, NOWHERE, 0, 0],
        [2, NOWHERE, NOWHERE, NOWHERE, NOWHERE, 3],
        [NOWHERE, NOWHERE, NOWHERE, NOWHERE, 4, NOWHERE],
    ]
    assert found.at(np.array([[-1, 0], [0, 6], [4, 0]])).tolist() == [NOWHERE] * 3


def test_cues_are_counted_on_components_of_their_class():
    yx = torch.tensor([[0.0, 0.0], [1.4, 1.6], [0.0, 5.0], [3.0, 4.0], [-2.0, 0.0]])
    cues = PointCues(yx, torch.tensor([1, 1, 1, 2, 1]), torch.ones(5))
    assert find_components(SCENE, range(20)).count_cues(cues).tolist() == [0, 2, 0, 0, 1]


@pytest.mark.parametrize(("first", "end"), [(0, 1), (1, 3), (3, 5), (0, 5)])
def test_a_part_of_the_components(first, end):
    found = find_components(SCENE, range(20))
    part, inside = part_of(found, first, end)
    assert (part.masks() == found.masks()[first:end]).all()
    assert (part.pixels == found.pixels[inside]).all()
    assert (np.diff(part.pixels) > 0).all()
    assert part.classes.tolist() == found.classes[first:end].tolist()
    crops = crops_of_parts(part.owners, part.pixels, len(part), SCENE.shape[1])
    for ((top, left), crop), mask, area in zip(crops, part.masks(), part.areas, strict=True):
        height, width = crop.shape
        assert (mask[top : top + height, left : left + width] == crop).all()
        assert crop.sum() == area


def test_no_component_at_all():
    found = find_components(np.zeros((3, 4), np.uint8), range(20))
    assert (len(found), len(found.pixels), found.masks().shape) == (0, 0, (0, 3, 4))
    assert found.at(np.array([[1, 2]])).tolist() == [NOWHERE]
    assert found.centroids().shape == (0, 2)


def test_regions_that_a_map_tells_apart():
    numbers = np.array([[1, 0, 1], [3, 3, 255], [2, 0, 4]], np.uint8)
    found = regions_of_map(numbers, [2, 0, 0])
    assert found.classes.tolist() == [0, 0, 2]
    assert [pixels_of(found, k) for k in range(3)] == [[[2, 0]], [[1, 0], [1, 1]], [[0, 0], [0, 2]]]
    assert len(regions_of_map(numbers, [])) == 0


@pytest.mark.parametrize("seed", range(20))
def test_components_equal_scipys_labels(seed):
    random = np.random.default_rng(seed)
    values = random.integers(0, 4, random.integers(1, 14, 2)).astype(np.uint8)
    values = values.repeat(random.integers(1, 4), axis=1)
    found = find_components(values, range(3), min_area=2)
    expected = []
    for value in (1, 2, 3):
        labels, count = ndimage.label(values == value, np.ones((3, 3)))
        masks = (np.argwhere(labels == label + 1) for label in range(count))
        expected += sorted(mask.tolist() for mask in masks if len(mask) >= 2)
    assert [pixels_of(found, k) for k in range(len(found))] == expected


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("seed", range(5))
def test_touching_pixels_equal_labels_of_the_map(seed, connectivity):
    random = np.random.default_rng(seed)
    owner_of = random.integers(1, 3, (13, 17)).repeat(2, axis=1)
    yx = random.permutation(np.argwhere(random.random(owner_of.shape) < 0.4))
    owners = owner_of[tuple(yx.T)]
    count, groups = touching_pixels(yx, owners, connectivity=connectivity)
    structure = np.ones((3, 3)) if connectivity == 8 else None
    expected, total = np.zeros(len(yx), dtype=int), 0
    for owner in (1, 2):
        mask = np.zeros(owner_of.shape, dtype=bool)
        mask[tuple(yx[owners == owner].T)] = True
        labels, more = ndimage.label(mask, structure)
        expected[owners == owner] = labels[tuple(yx[owners == owner].T)] + total
        total += more
    assert count == total
    assert len(np.unique(np.stack([groups, expected]), axis=1).T) == count


def test_windows_side_by_side_do_not_overlap():
    sizes = np.random.default_rng(0).integers(1, 30, (40, 2))
    corners, sheet = side_by_side(sizes)
    covered = np.zeros(sheet, dtype=int)
    for (top, left), (height, width) in zip(corners, sizes, strict=True):
        covered[top : top + height, left : left + width] += 1
    assert covered.max() == 1
    assert covered.sum() == sizes.prod(axis=1).sum() > 0.6 * covered.size
    assert side_by_side(np.zeros((0, 2), dtype=int))[1] == (0, 1)
