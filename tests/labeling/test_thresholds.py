"""Foreground by thresholds, on drawn images whose foreground is known."""

import tracemalloc

import numpy as np
import pytest

from bestie_d2.errors import InputError
from bestie_d2.labeling.thresholds import METHODS, ForegroundRecipe, weak_foreground

SIZE = 64
BACKGROUND, OBJECT = 20, 200


def disks(*circles: tuple[int, int, int]) -> np.ndarray:
    """(SIZE, SIZE) bool union of circles (y, x, radius)."""
    y, x = np.mgrid[:SIZE, :SIZE]
    inside = [(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx, radius in circles]
    return np.any(inside, axis=0)


TRUTH = disks((16, 16, 6), (40, 44, 7))


def painted(mask: np.ndarray, dtype: type = np.uint8) -> np.ndarray:
    """The mask bright on dark, with a little noise."""
    noise = np.random.default_rng(0).integers(-3, 4, mask.shape)
    return (np.where(mask, OBJECT, BACKGROUND) + noise).astype(dtype)


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"local", "triangle"}))
def test_methods_find_clear_objects(method):
    found = weak_foreground(painted(TRUTH), ForegroundRecipe(method=method))
    assert found.dtype == bool
    assert iou(found, TRUTH) == 1


def test_local_alone_takes_noise_for_objects():
    recipe = ForegroundRecipe(method="local", fill_holes=False, min_area=0)
    found = weak_foreground(painted(TRUTH), recipe)
    assert found[TRUTH].all()
    assert found[disks((10, 50, 5))].any()


def test_triangle_finds_the_objects_in_skewed_values():
    found = weak_foreground(painted(TRUTH), ForegroundRecipe(method="triangle"))
    assert found[TRUTH].all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_scale_and_type_do_not_matter(dtype):
    image = painted(TRUTH).astype(dtype)
    scaled = image * dtype(100) if dtype == np.uint16 else image
    assert iou(weak_foreground(scaled), TRUTH) == 1


def test_polarity():
    dark = 255 - painted(TRUTH)
    assert iou(weak_foreground(dark), TRUTH) == 1
    assert iou(weak_foreground(dark, ForegroundRecipe(polarity="dark")), TRUTH) == 1
    recipe = ForegroundRecipe(method="otsu", polarity="bright", fill_holes=False)
    bright = weak_foreground(dark, recipe)
    assert iou(bright, ~TRUTH) == 1  # asked for what is bright: here that is the background


def test_holes_and_small_components():
    ring = disks((32, 32, 12)) & ~disks((32, 32, 5))
    speck = disks((5, 5, 1))  # 5 pixels
    image = painted(ring | speck)
    otsu = {"method": "otsu"}
    assert iou(weak_foreground(image, ForegroundRecipe(**otsu)), disks((32, 32, 12))) == 1
    kept = weak_foreground(image, ForegroundRecipe(**otsu, fill_holes=False, min_area=5))
    assert iou(kept, ring | speck) == 1
    dropped = weak_foreground(image, ForegroundRecipe(**otsu, fill_holes=False, min_area=6))
    assert iou(dropped, ring) == 1


def test_local_mean_parts_objects_that_otsu_joins():
    image = np.full((SIZE, SIZE), 20.0)
    image[20:44, 12:30] = image[20:44, 32:50] = 200
    image[20:44, 30:32] = 120  # the blur between them
    otsu = weak_foreground(image, ForegroundRecipe(method="otsu"))
    recipe = ForegroundRecipe(method="otsu_local", fill_holes=False)  # its ends enclose the gap
    parted = weak_foreground(image, recipe)
    assert otsu[32, 28:34].all()
    assert parted[32, 28:34].tolist() == [True, True, False, False, True, True]


def test_floor_keeps_faint_things_out():
    image = painted(TRUTH).astype(np.int64)
    image[50:56, 8:14] = 50  # a sixth of the way from background to objects
    assert not weak_foreground(image)[53, 11]
    assert weak_foreground(image, ForegroundRecipe(floor=0.1))[53, 11]


def test_smoothing_removes_salt():
    image = painted(TRUTH)
    image[50:52, 10] = 255
    rough = weak_foreground(image, ForegroundRecipe(method="otsu", min_area=0))
    smooth = weak_foreground(image, ForegroundRecipe(method="otsu", min_area=0, smooth=2))
    assert rough[50, 10]
    assert not smooth[50, 10]


def test_an_image_of_one_value_has_no_foreground():
    for method in METHODS:
        assert not weak_foreground(np.full((8, 9), 7), ForegroundRecipe(method=method)).any()


def test_the_image_is_left_as_it_is():
    image = painted(TRUTH)
    before = image.copy()
    weak_foreground(image, ForegroundRecipe(smooth=1, polarity="dark"))
    assert (image == before).all()


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("method", "magic", "method 'magic': expected otsu, li"),
        ("polarity", "red", "polarity 'red': expected auto, bright, dark"),
        ("block_size", 30, "block size 30: expected an odd number of pixels"),
        ("block_size", 1, "block size 1: expected"),
        ("smooth", -1.0, r"smooth -1\.0: expected 0 or more"),
        ("min_area", -1, "min_area -1: expected 0 or more"),
    ],
)
def test_recipes_that_make_no_sense(field, value, line):
    with pytest.raises(InputError, match=line):
        ForegroundRecipe(**{field: value})


def test_memory_does_not_grow_with_the_objects():
    image = np.zeros((400, 400), np.uint8)
    image.reshape(40, 10, 40, 10)[:, 2:8, :, 2:8] = 200  # 1,600 squares, whose masks are 244 MiB
    tracemalloc.start()
    found = weak_foreground(image, ForegroundRecipe(method="otsu"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.tolist() == (image > 0).tolist()
    assert peak < 40 * 2**20
