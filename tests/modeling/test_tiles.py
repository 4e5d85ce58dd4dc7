"""Large pictures in tiles: the same instances as of the whole picture, none cut at a seam."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.modeling import tiles
from bestie_d2.modeling.heads import InstanceMaps
from bestie_d2.modeling.layers import upsample
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.modeling.tiles import Tiling, find_in_tiles, tile_of
from bestie_d2.structures import ObjectMask

STRIDE, RADIUS = 4, 15
GROUPING = {
    "center_threshold": 0.1,
    "kernel": 11,
    "clustering": False,
    "min_area": 20,
    "keep_centerless": True,
}


class Pooling(Backbone):
    """Sees no further than 4x4 pixels."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"res2": nn.functional.avg_pool2d(images, STRIDE)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"res2": ShapeSpec(channels=3, stride=STRIDE)}


class ColorHead(nn.Module):
    """Green is of class 1, red of class 0 and brightest at centers; blue points to the left."""

    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, features: dict[str, Tensor], size: tuple[int, int]) -> InstanceMaps:
        red, green, blue = features["res2"].unbind(1)
        sem_seg = torch.stack([torch.full_like(red, 0.3), red, green], dim=1) * 8
        center = torch.stack([red, green], dim=1) - 0.2
        offset = torch.stack([blue * 0, blue * -9], dim=1)
        return InstanceMaps(
            *(upsample(m, size, self.align_corners) for m in (sem_seg, center, offset))
        )


def model_of(*, flip: bool = False, align_corners: bool = False, divisibility: int = 32) -> BESTIE:
    return BESTIE(
        backbone=Pooling(),
        head=ColorHead(align_corners),
        criterion=nn.Identity(),
        pixel_mean=[0.0] * 3,
        pixel_std=[255.0] * 3,
        size_divisibility=divisibility,
        flip=flip,
        use_tags=False,
        use_points=False,
        grouping=GROUPING,
    ).eval()


def discs(height: int, width: int, centers: list[tuple[int, int]]) -> np.ndarray:
    """(H, W, 3) picture of discs, red and green in turn, brightest in their middle."""
    picture = np.zeros((height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for number, (y, x) in enumerate(centers):
        distance = np.hypot(rows - y, columns - x)
        inside = distance < RADIUS
        picture[inside, number % 2] = (255 - 5 * distance[inside]).astype(np.uint8)
        picture[inside, 2] = 20
    return picture


CENTERS = [(y, x) for y in range(20, 140, 36) for x in range(19, 240, 37)]


def whole(model: BESTIE, picture: np.ndarray, seen: tuple[int, int]) -> list[tuple]:
    """What the model finds in the whole picture, resized as the mappers do."""
    height, width = picture.shape[:2]
    resized = np.asarray(
        tiles.Image.fromarray(picture).resize(seen[::-1], tiles.Image.Resampling.BILINEAR)
    )
    image = torch.from_numpy(resized.transpose(2, 0, 1).copy())
    found = model([{"image": image, "height": height, "width": width}])[0]["instances"]
    return [
        (int(class_id), float(score), mask.numpy())
        for class_id, score, mask in zip(
            found.pred_classes, found.scores, found.pred_masks, strict=True
        )
    ]


def painted(found: ObjectMask, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape[:2], bool)
    (top, left), (height, width) = found.top_left, found.mask.shape
    mask[top : top + height, left : left + width] = found.mask
    return mask


@pytest.mark.parametrize(
    ("size", "seen", "align_corners", "flip"),
    [
        ((160, 256), (160, 256), False, False),
        ((160, 256), (160, 256), True, True),
        ((160, 256), (240, 384), False, True),
        ((150, 255), (150, 255), False, False),
    ],
)
def test_tiles_find_what_the_whole_picture_shows(size, seen, align_corners, flip):
    model, picture = model_of(flip=flip, align_corners=align_corners), discs(*size, CENTERS)
    expected = whole(model, picture, seen)
    found = find_in_tiles(model, picture, seen, Tiling(96, 32))
    assert len(found) == len(expected) == len(CENTERS)
    for got, (class_id, score, mask) in zip(found, expected, strict=True):
        assert got.class_id == class_id
        assert got.score == pytest.approx(score, abs=0.003)
        same = painted(got, size)
        assert (same & mask).sum() / (same | mask).sum() > 0.98
        if size == seen and size[0] % 32 == 0:  # else the tiles' values are rounded otherwise
            assert (same == mask).all()


def test_memory_bounds_change_nothing(monkeypatch):
    model, picture = model_of(), discs(160, 256, CENTERS)
    expected = find_in_tiles(model, picture, (160, 256), Tiling(96, 32))
    monkeypatch.setattr(tiles, "VALUES_AT_ONCE", 256 * 7 * 3)
    monkeypatch.setattr("bestie_d2.labeling.decode.PIXELS_AT_ONCE", 1000)
    for got, same in zip(
        find_in_tiles(model, picture, (160, 256), Tiling(96, 32)), expected, strict=True
    ):
        assert (got.class_id, got.score, got.top_left) == (same.class_id, same.score, same.top_left)
        assert (got.mask == same.mask).all()


def test_an_object_that_lies_on_a_corner_of_four_tiles_is_whole():
    model = model_of()
    picture = discs(224, 224, [(112, 112)])
    (found,) = find_in_tiles(model, picture, (224, 224), Tiling(128, 32))
    (expected,) = whole(model, picture, (224, 224))
    assert (painted(found, (224, 224)) == expected[2]).all()
    assert found.top_left == (97, 97)
    assert found.mask.shape == (31, 31)


def test_nothing_and_narrow_pictures():
    assert (
        find_in_tiles(model_of(), np.zeros((64, 300, 3), np.uint8), (64, 300), Tiling(64, 0)) == []
    )
    strip = np.full((1, 300, 3), (255, 0, 0), np.uint8)
    (found,) = find_in_tiles(model_of(), strip, (1, 300), Tiling(64, 32))
    assert (found.top_left, found.mask.shape, found.mask.all()) == ((0, 0), (1, 300), True)


@pytest.mark.parametrize(
    ("length", "tiling", "expected"),
    [
        (100, Tiling(128, 32), [(0, 100)]),
        (128, Tiling(128, 32), [(0, 128)]),
        (300, Tiling(128, 32), [(0, 128), (96, 224), (192, 300)]),
        (320, Tiling(128, 64), [(0, 128), (64, 192), (128, 256), (192, 320)]),
        (129, Tiling(128, 0), [(0, 128), (32, 129)]),
    ],
)
def test_where_tiles_lie(length, tiling, expected):
    assert tiling.tiles(length, 32) == expected


@pytest.mark.parametrize("seen", [(60, 90), (91, 137), (23, 31)])
def test_a_tile_is_cut_from_the_resized_picture_without_resizing_all_of_it(seen):
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    resized = tiles.Image.fromarray(picture).resize(seen[::-1], tiles.Image.Resampling.BILINEAR)
    for box in [(0, 0, 20, 20), (3, 11, 23, 31), (seen[0] - 9, seen[1] - 13, *seen)]:
        top, left, bottom, right = box
        expected = np.asarray(resized)[top:bottom, left:right].astype(int)
        assert np.abs(tile_of(picture, seen, box) - expected).max() <= 1  # rounding
    assert cv2.PSNR(np.asarray(resized), tile_of(picture, seen, (0, 0, *seen))) > 50


@pytest.mark.parametrize("sides", [(100, -1), (100, 51)])
def test_tilings_that_are_none_are_refused(sides):
    with pytest.raises(InputError, match=f"--tile {sides[0]} --overlap {sides[1]}"):
        Tiling(*sides)


@pytest.mark.parametrize("size", [-1, 1, 63])
def test_tiles_that_hold_nothing_are_refused(size):
    with pytest.raises(InputError, match=f"--tile {size}: expected 64 pixels or more, or 0"):
        Tiling(size, 0)
