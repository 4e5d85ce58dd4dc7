import numpy as np
import pytest
from scipy import ndimage

from bestie_d2.ops.regions import NOWHERE, find_regions, regions_of_values

SCENE = np.array(
    [[2, 2, 0, 0, 1, 1], [0, 0, 2, 0, 1, 1], [2, 0, 0, 0, 0, 2], [0, 255, 0, 0, 3, 0]], np.uint8
)
CLASSES = np.arange(256) % 255 > 0


def of_values(*values: int) -> np.ndarray:
    return np.isin(np.arange(256), values)


def pixels_of(regions, k: int) -> list[tuple[int, int]]:
    part = slice(*regions.edges[k : k + 2])
    return list(zip(regions.rows[part].tolist(), regions.columns[part].tolist(), strict=True))


def test_regions_by_value_then_raster_order():
    regions = find_regions(SCENE, CLASSES, connectivity=8)
    assert regions.values.tolist() == [1, 2, 2, 2, 3]
    assert regions.areas.tolist() == [4, 3, 1, 1, 1]
    assert pixels_of(regions, 0) == [(0, 4), (0, 5), (1, 4), (1, 5)]
    assert pixels_of(regions, 1) == [(0, 0), (0, 1), (1, 2)]
    # (2, 5) and (2, 0) are neighbors of each other's rows in memory alone
    assert [pixels_of(regions, k) for k in (2, 3)] == [[(2, 0)], [(2, 5)]]
    assert regions.centroids()[0].tolist() == [0.5, 4.5]
    assert regions.centroids()[1].tolist() == pytest.approx([1 / 3, 1.0])


def test_four_connectivity_splits_a_diagonal():
    regions = find_regions(SCENE, of_values(2), connectivity=4)
    assert regions.areas.tolist() == [2, 1, 1, 1]


def test_small_and_unwanted_regions_are_dropped():
    regions = find_regions(SCENE, of_values(1, 2), connectivity=8, min_area=3)
    assert regions.paint(np.array([0, 1]), NOWHERE).tolist() == [
        [1, 1, NOWHERE, NOWHERE, 0, 0],
        [NOWHERE, NOWHERE, 1, NOWHERE, 0, 0],
        [NOWHERE] * 6,
        [NOWHERE] * 6,
    ]


def test_pixels_are_found_in_the_lists():
    regions = find_regions(SCENE, CLASSES, connectivity=8)
    every = np.argwhere(np.ones_like(SCENE))
    owners, places = regions.places_of(every)
    assert owners.reshape(SCENE.shape).tolist() == [
        [1, 1, NOWHERE, NOWHERE, 0, 0],
        [NOWHERE, NOWHERE, 1, NOWHERE, 0, 0],
        [2, NOWHERE, NOWHERE, NOWHERE, NOWHERE, 3],
        [NOWHERE, NOWHERE, NOWHERE, NOWHERE, 4, NOWHERE],
    ]
    assert (places[owners == NOWHERE] == NOWHERE).all()
    found = places[owners != NOWHERE]
    assert regions.pixels[found].tolist() == np.flatnonzero(CLASSES[SCENE]).tolist()
    assert regions.raster_ranks[found].tolist() == list(range(10))


def test_a_value_as_one_region():
    regions = regions_of_values(SCENE, of_values(2, 3))
    assert regions.areas.tolist() == [5, 1]
    assert pixels_of(regions, 0) == [(0, 0), (0, 1), (1, 2), (2, 0), (2, 5)]
    assert regions_of_values(SCENE, CLASSES, min_area=5).values.tolist() == [2]


def test_no_region_at_all():
    regions = find_regions(np.zeros((3, 4), np.uint8), CLASSES, connectivity=8)
    assert len(regions) == 0
    assert (regions.centroids().shape, regions.pixels.shape) == ((0, 2), (0,))
    assert (regions.paint(np.zeros(0, int), NOWHERE) == NOWHERE).all()
    assert [found.tolist() for found in regions.places_of(np.array([[1, 2]]))] == [[NOWHERE]] * 2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("connectivity", [4, 8])
def test_regions_equal_scipys_labels(seed, connectivity):
    random = np.random.default_rng(seed)
    values = random.integers(0, 4, random.integers(1, 14, 2)).astype(np.uint8)
    values = values.repeat(random.integers(1, 4), axis=1)
    regions = find_regions(values, CLASSES, connectivity=connectivity, min_area=2)
    structure = np.ones((3, 3)) if connectivity == 8 else None
    expected = []
    for value in (1, 2, 3):
        labels, count = ndimage.label(values == value, structure)
        masks = (np.argwhere(labels == label + 1) for label in range(count))
        expected += sorted(mask.tolist() for mask in masks if len(mask) >= 2)
    found = [[list(pixel) for pixel in pixels_of(regions, k)] for k in range(len(regions))]
    assert found == expected
