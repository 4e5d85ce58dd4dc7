"""The layers of a picture: sizes, types and pixels that can be told beforehand."""

import numpy as np
import pytest
import torch

from bestie_d2.data.labels.index_png import index_palette
from bestie_d2.evaluation.failures import KINDS
from bestie_d2.pictures.overlays import (
    GREY,
    KIND_COLORS,
    MaskSet,
    brighten,
    class_color,
    draw_activations,
    draw_center_map,
    draw_cues,
    draw_image,
    draw_instances,
    draw_offsets,
    draw_weak_map,
    instance_color,
)
from bestie_d2.structures import PointCues

HEIGHT, WIDTH = 40, 60
PHOTO = np.full((HEIGHT, WIDTH, 3), 100, dtype=np.uint8)


def is_picture(array: np.ndarray, size: tuple[int, int] = (HEIGHT, WIDTH)) -> bool:
    return array.shape == (*size, 3) and array.dtype == np.uint8


def halfway(below: int, color: tuple[int, int, int]) -> list[int]:
    return np.rint((below + np.array(color)) / 2).tolist()


def block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def instances(*masks: np.ndarray, **known: object) -> MaskSet:
    return MaskSet(np.array(masks).reshape(-1, HEIGHT, WIDTH), [0] * len(masks), **known)


def cues(*points: tuple[float, float, int, float]) -> PointCues:
    """Cues of (y, x, class, score)."""
    table = torch.tensor(points).reshape(-1, 4)
    return PointCues(table[:, :2], table[:, 2].long(), table[:, 3])


def test_images_of_any_kind():
    grey = np.array([[0, 128], [64, 255]], dtype=np.uint8)
    as_rgb = [[[0] * 3, [128] * 3], [[64] * 3, [255] * 3]]
    assert draw_image(grey).tolist() == as_rgb
    assert draw_image(grey / 255).tolist() == as_rgb
    assert draw_image(grey.astype(np.uint16) * 257).tolist() == as_rgb
    assert draw_image(np.array(as_rgb, np.uint8)).tolist() == as_rgb
    assert draw_image(np.zeros((2, 2))).tolist() == [[[0] * 3] * 2] * 2


def test_only_dark_images_are_brightened():
    assert (brighten(PHOTO + 100) == 200).all()
    assert (brighten(PHOTO) == 255).all()
    assert (brighten(PHOTO * 0) == 0).all()


def test_drawing_leaves_the_image_as_it_is():
    photo = PHOTO.copy()
    draw_weak_map(photo, block(0, 0, 9, 9).astype(np.uint8))
    draw_cues(photo, cues((10, 10, 0, 1)))
    draw_instances(photo, instances(block(0, 0, 9, 9)))
    assert (photo == PHOTO).all()


def test_index_palette_is_that_of_pascal_voc():
    colors = np.array(index_palette()).reshape(256, 3).tolist()
    assert colors[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colors[15] == [192, 128, 128]
    assert colors[20] == [0, 64, 128]
    assert colors[254] == [96, 224, 192]
    assert colors[255] == list(GREY)


def test_weak_map_is_laid_over_the_image():
    index_map = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    index_map[0, 0], index_map[0, 1] = 2, 255
    drawn = draw_weak_map(PHOTO, torch.from_numpy(index_map))
    assert is_picture(drawn)
    assert drawn[0, :2].tolist() == [halfway(100, class_color(1)), [114] * 3]
    assert drawn[1, 1].tolist() == [100] * 3


def test_cues_are_dots_with_a_ring_as_closed_as_they_are_sure():
    drawn = draw_cues(PHOTO, cues((10, 20, 1, 1.0), (30, 40, 0, 0.1)))
    assert is_picture(drawn)
    assert tuple(drawn[10, 20]) == class_color(1)
    assert tuple(drawn[30, 40]) == class_color(0)
    sure, unsure = drawn[5:16, 15:26].astype(int), drawn[25:36, 35:46].astype(int)
    assert sure.min(axis=-1).sum() > unsure.min(axis=-1).sum()
    assert (draw_cues(PHOTO, PointCues.empty()) == PHOTO).all()
    assert is_picture(draw_cues(PHOTO, cues((0, 0, 0, 1.0), (39, 59, 0, 1.0))))


def test_cues_can_be_drawn_larger():
    cue = cues((20, 30, 0, 1.0))
    small, large = ((draw_cues(PHOTO, cue, radius) != PHOTO).any(axis=2) for radius in (0, 0.2))
    assert small[20, 30]
    assert small.sum(axis=1).max() < 12
    assert large.sum(axis=1).max() in range(17, 24)  # 2 x (0.2 x 40 + 2) and the middle


def test_center_map_shows_the_highest_class():
    center = torch.zeros(2, HEIGHT, WIDTH)
    center[1, 5, 6] = 1
    drawn = draw_center_map(PHOTO, center)
    assert is_picture(drawn)
    assert drawn[0, 0].tolist() == [60] * 3
    assert drawn[5, 6, 0] > 240  # the bright end of the heat
    assert (draw_center_map(PHOTO, torch.zeros(0, HEIGHT, WIDTH)) == 60).all()


def test_activations_have_the_color_of_their_class():
    maps = torch.zeros(2, HEIGHT, WIDTH)
    maps[0, 5, 6], maps[1, 7, 8] = 1, 0.5
    drawn = draw_activations(PHOTO, maps, [4, 0])
    assert is_picture(drawn)
    assert drawn[0, 0].tolist() == [60] * 3
    assert tuple(drawn[5, 6]) == class_color(4)
    assert drawn[7, 8].tolist() == halfway(60, class_color(0))
    assert (draw_activations(PHOTO, torch.zeros(0, HEIGHT, WIDTH), []) == 60).all()


@pytest.mark.parametrize(
    ("dy", "dx", "color"),
    [
        (0, 1, [255, 0, 0]),  # right
        (1, 0, [255, 229, 0]),  # down
        (0, -1, [0, 209, 255]),  # left
        (-1, 0, [88, 0, 255]),  # up
        (0, 0, [255, 255, 255]),
    ],
)
def test_offset_colors(dy, dx, color):
    offset = torch.tensor([dy, dx], dtype=torch.float32)[:, None, None].expand(2, HEIGHT, WIDTH)
    assert draw_offsets(offset)[0, 0].tolist() == pytest.approx(color, abs=1)


def test_offsets_are_scaled_to_the_longest_one_shown():
    offset = np.zeros((2, HEIGHT, WIDTH))
    offset[1, 0, 0], offset[1, 0, 1], offset[1, 0, 2] = 5, 10, 99
    shown = block(0, 0, 1, 2)
    drawn = draw_offsets(offset, shown)
    assert is_picture(drawn)
    expected = [[255, 127, 127], [255, 0, 0], list(GREY)]
    assert drawn[0, :3].tolist() == [pytest.approx(color, abs=1) for color in expected]
    assert (draw_offsets(offset, shown & False) == GREY).all()


def test_offset_wheel_has_each_color_on_its_side():
    size = 280
    blank = np.zeros((2, size, size))
    radius, middle = 20, size - 2 - 21  # a fourteenth of the side, two pixels from the corner
    drawn = draw_offsets(blank)
    near_rim = radius - 2
    assert drawn[middle, middle + near_rim, 0] == 255
    assert drawn[middle, middle + near_rim, 1] < 60
    assert drawn[middle, middle - near_rim, 0] < 60
    assert drawn[middle + radius, middle + radius].tolist() == list(GREY)
    assert (draw_offsets(blank, wheel=False) == 255).all()


def test_instances_are_filled_and_outlined():
    drawn = draw_instances(PHOTO, instances(block(2, 2, 12, 12), block(20, 30, 36, 50)))
    assert is_picture(drawn)
    for number, (top, left) in enumerate(((2, 2), (20, 30))):
        color = instance_color(number)
        assert tuple(drawn[top, left]) == color
        assert drawn[top + 3, left + 3].tolist() == halfway(100, color)
    assert drawn[0, 0].tolist() == [100] * 3
    assert len({instance_color(number) for number in range(100)}) == 100


def test_foreground_that_no_mask_covers_is_grey():
    found = instances(block(0, 0, 10, 10), foreground=block(0, 0, 20, 20))
    drawn = draw_instances(PHOTO, found)
    assert drawn[15, 15].tolist() == [114] * 3
    assert drawn[5, 5].tolist() == halfway(100, instance_color(0))


def test_higher_scores_lie_on_top():
    masks = torch.from_numpy(np.stack([block(0, 0, 10, 10), block(0, 0, 10, 10)]))
    drawn = draw_instances(PHOTO, MaskSet(masks, torch.zeros(2), torch.tensor([0.9, 0.2])))
    assert tuple(drawn[0, 0]) == instance_color(0)


def test_text_only_where_there_is_room():
    for mask, written in ((block(5, 0, 35, 60), True), (block(5, 5, 12, 12), False)):
        found = instances(mask, scores=torch.tensor([0.5]))
        plain, named = draw_instances(PHOTO, found), draw_instances(PHOTO, found, ["cat"])
        assert (plain != named).any() == written


def test_no_instance():
    assert (draw_instances(PHOTO, instances(), ["cat"]) == PHOTO).all()


def test_outlines_say_what_became_of_an_instance():
    found = instances(block(2, 2, 16, 16), block(20, 30, 36, 50), kinds=["right", "merged"])
    drawn = draw_instances(PHOTO, found)
    for number, (kind, top, left) in enumerate((("right", 2, 2), ("merged", 20, 30))):
        assert tuple(drawn[top, left]) == tuple(drawn[top + 1, left + 5]) == KIND_COLORS[kind]
        assert drawn[top + 5, left + 5].tolist() == halfway(100, instance_color(number))
    assert set(KIND_COLORS) == set(KINDS)
