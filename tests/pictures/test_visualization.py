"""Pictures: sizes, types and pixels that can be told beforehand."""

import numpy as np
import pytest
import torch

from bestie_d2.pictures.colors import GREY, class_color, index_colors, index_palette, instance_color
from bestie_d2.pictures.drawing import (
    brighten,
    draw_activations,
    draw_center_map,
    draw_cues,
    draw_image,
    draw_instances,
    draw_offsets,
    draw_weak_map,
)
from bestie_d2.pictures.sheets import (
    COLUMNS,
    GAP,
    TITLE_HEIGHT,
    MaskSet,
    SheetSample,
    contact_sheet,
    draw_prediction_sheet,
)
from bestie_d2.structures import PointCues

HEIGHT, WIDTH = 40, 60
PHOTO = np.full((HEIGHT, WIDTH, 3), 100, dtype=np.uint8)


def is_picture(array: np.ndarray, size: tuple[int, int] = (HEIGHT, WIDTH)) -> bool:
    return array.shape == (*size, 3) and array.dtype == np.uint8


def block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def cues(*points: tuple[float, float, int, float]) -> PointCues:
    """Cues of (y, x, class, score)."""
    table = torch.tensor(points).reshape(-1, 4)
    return PointCues(table[:, :2], table[:, 2].long(), table[:, 3])


def test_images_of_any_kind():
    grey = np.array([[0, 128], [64, 255]], dtype=np.uint8)
    as_rgb = [[[0] * 3, [128] * 3], [[64] * 3, [255] * 3]]
    assert draw_image(grey).tolist() == as_rgb
    assert draw_image(torch.from_numpy(grey)).tolist() == as_rgb
    assert draw_image(grey.astype(np.float32)).tolist() == as_rgb
    assert draw_image(grey.astype(np.uint16) * 257).tolist() == as_rgb
    channels_first = torch.from_numpy(grey).expand(3, 2, 2)
    assert draw_image(channels_first).tolist() == as_rgb
    assert draw_image(np.zeros((2, 2))).tolist() == [[[0] * 3] * 2] * 2
    assert draw_image(grey == 0)[0, 0].tolist() == [255] * 3


def test_only_dark_images_are_brightened():
    assert (brighten(PHOTO + 100) == 200).all()
    assert (brighten(PHOTO) == 255).all()
    assert (brighten(PHOTO * 0) == 0).all()


def test_drawing_leaves_the_image_as_it_is():
    photo = PHOTO.copy()
    draw_weak_map(photo, block(0, 0, 9, 9).astype(np.uint8))
    draw_cues(photo, cues((10, 10, 0, 1)))
    draw_instances(photo, block(0, 0, 9, 9)[None])
    draw_image(photo)[:] = 0
    assert (photo == PHOTO).all()


def test_index_palette_is_that_of_pascal_voc():
    assert index_colors()[[0, 1, 2, 15]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
    ]
    assert len(index_palette()) == 3 * 256
    assert index_palette()[-3:] == list(GREY)


def test_weak_map_blends_the_class_color():
    index_map = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    index_map[0, 0], index_map[0, 1] = 2, 255
    drawn = draw_weak_map(PHOTO, torch.from_numpy(index_map))
    assert is_picture(drawn)
    assert drawn[0, 0].tolist() == np.rint((100 + class_color(1).astype(float)) / 2).tolist()
    assert drawn[0, 1].tolist() == [114] * 3
    assert drawn[1, 1].tolist() == [100] * 3


def test_cues_are_dots_with_a_ring_as_closed_as_they_are_sure():
    drawn = draw_cues(PHOTO, cues((10, 20, 1, 1.0), (30, 40, 0, 0.1)))
    assert is_picture(drawn)
    assert drawn[10, 20].tolist() == class_color(1).tolist()
    assert drawn[30, 40].tolist() == class_color(0).tolist()
    sure, unsure = drawn[5:16, 15:26].astype(int), drawn[25:36, 35:46].astype(int)
    assert sure.min(axis=-1).sum() > unsure.min(axis=-1).sum()
    assert (draw_cues(PHOTO, PointCues.empty()) == PHOTO).all()
    assert is_picture(draw_cues(PHOTO, cues((0, 0, 0, 1.0), (39, 59, 0, 1.0))))


def test_center_map_shows_the_highest_class():
    center = torch.zeros(2, HEIGHT, WIDTH)
    center[1, 5, 6] = 1
    drawn = draw_center_map(PHOTO, center)
    assert is_picture(drawn)
    assert drawn[0, 0].tolist() == [60] * 3
    assert drawn[5, 6, 0] > 240  # the bright end of the heat
    assert (draw_center_map(PHOTO, center[1]) == drawn).all()
    assert (draw_center_map(PHOTO, torch.zeros(0, HEIGHT, WIDTH)) == 60).all()


def test_activations_have_the_color_of_their_class():
    maps = torch.zeros(2, HEIGHT, WIDTH)
    maps[0, 5, 6], maps[1, 7, 8] = 1, 0.5
    drawn = draw_activations(PHOTO, maps, [4, 0])
    assert is_picture(drawn)
    assert drawn[0, 0].tolist() == [60] * 3
    assert drawn[5, 6].tolist() == class_color(4).tolist()
    assert drawn[7, 8].tolist() == np.rint((60 + class_color(0).astype(float)) / 2).tolist()
    assert (draw_activations(PHOTO, torch.zeros(0, HEIGHT, WIDTH), []) == 60).all()


@pytest.mark.parametrize(
    ("dy", "dx", "color"),
    [
        (0, 1, [255, 0, 0]),  # right
        (1, 0, [128, 255, 0]),  # down
        (0, -1, [0, 255, 255]),  # left
        (-1, 0, [128, 0, 255]),  # up
        (0, 0, [255, 255, 255]),
        (0, 0.5, [255, 128, 128]),
    ],
)
def test_offset_colors(dy, dx, color):
    offset = torch.tensor([dy, dx], dtype=torch.float32)[:, None, None].expand(2, HEIGHT, WIDTH)
    assert draw_offsets(offset, longest=1)[0, 0] == pytest.approx(color, abs=1)


def test_offsets_are_scaled_to_the_longest_one_shown():
    offset = np.zeros((2, HEIGHT, WIDTH))
    offset[1, 0, 0], offset[1, 0, 1], offset[1, 0, 2] = 5, 10, 99
    shown = block(0, 0, 1, 2)
    drawn = draw_offsets(offset, shown)
    assert is_picture(drawn)
    assert drawn[0, :3].tolist() == [[255, 128, 128], [255, 0, 0], list(GREY)]
    assert (draw_offsets(offset, shown & False) == GREY).all()


def test_offset_legend_has_each_color_on_its_side():
    size = 280
    blank = np.zeros((2, size, size))
    radius, middle = 20, size - 2 - 21  # a fourteenth of the side, two pixels from the corner
    drawn = draw_offsets(blank)
    near_rim = radius - 2
    assert drawn[middle, middle + near_rim, 0] == 255
    assert drawn[middle, middle + near_rim, 1] < 60
    assert drawn[middle, middle - near_rim, 0] < 60
    assert drawn[middle, middle + radius].tolist() == [0, 0, 0]
    assert (draw_offsets(blank, legend=False) == 255).all()


def test_instances_are_filled_and_outlined():
    masks = np.stack([block(2, 2, 12, 12), block(20, 30, 36, 50)])
    drawn = draw_instances(PHOTO, masks)
    assert is_picture(drawn)
    for number, (top, left) in enumerate(((2, 2), (20, 30))):
        color = instance_color(number)
        assert drawn[top, left].tolist() == color.tolist()
        blend = np.rint((100 + color.astype(float)) / 2)
        assert drawn[top + 3, left + 3].tolist() == blend.tolist()
    assert drawn[0, 0].tolist() == [100] * 3
    colors = {tuple(instance_color(number)) for number in range(100)}
    assert len(colors) == 100


def test_higher_scores_lie_on_top():
    masks = torch.from_numpy(np.stack([block(0, 0, 10, 10), block(0, 0, 10, 10)]))
    drawn = draw_instances(PHOTO, masks, scores=torch.tensor([0.9, 0.2]))
    assert drawn[0, 0].tolist() == instance_color(0).tolist()


def test_text_only_where_there_is_room():
    large, small = block(5, 0, 35, 60)[None], block(5, 5, 12, 12)[None]
    for mask, written in ((large, True), (small, False)):
        plain = draw_instances(PHOTO, mask)
        named = draw_instances(PHOTO, mask, torch.tensor([0]), torch.tensor([0.5]), ["cat"])
        assert (plain != named).any() == written


def test_no_instance():
    drawn = draw_instances(PHOTO, torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool))
    assert (drawn == PHOTO).all()


def test_contact_sheet_places_pictures_under_their_titles():
    small = np.full((10, 100, 3), 7, dtype=np.uint8)
    large = np.full((30, 120, 3), 9, dtype=np.uint8)
    sheet = contact_sheet([[small, large], [None, small]], ["left", "right"])
    assert is_picture(sheet, (TITLE_HEIGHT + 30 + GAP + 10 + GAP, GAP + 100 + GAP + 120 + GAP))
    assert (sheet[TITLE_HEIGHT : TITLE_HEIGHT + 10, GAP : GAP + 100] == 7).all()
    assert (sheet[TITLE_HEIGHT : TITLE_HEIGHT + 30, 2 * GAP + 100 : 2 * GAP + 220] == 9).all()
    below = TITLE_HEIGHT + 30 + GAP
    assert (sheet[below : below + 10, GAP : GAP + 100] == 255).all()
    assert (sheet[:TITLE_HEIGHT] != 255).any()


def test_contact_sheet_without_rows():
    sheet = contact_sheet([], ["image", "weak map"])
    assert sheet.shape[0] == TITLE_HEIGHT
    assert (sheet != 255).any()
    assert is_picture(draw_prediction_sheet([]), (TITLE_HEIGHT, GAP))


def full_sample() -> SheetSample:
    masks = MaskSet(block(2, 2, 30, 30)[None], torch.tensor([0]), torch.tensor([0.7]))
    return SheetSample(
        image=torch.from_numpy(PHOTO.transpose(2, 0, 1).copy()),
        weak_map=block(2, 2, 30, 30).astype(np.uint8),
        activations=torch.rand(2, HEIGHT, WIDTH),
        tags=[0, 3],
        cues=cues((16, 16, 0, 1.0)),
        center=torch.rand(1, HEIGHT, WIDTH),
        offset=torch.randn(2, HEIGHT, WIDTH),
        prediction=masks,
        truth=MaskSet(masks.masks, masks.classes),
    )


def test_prediction_sheet_has_all_columns_enlarged():
    factor = 6  # of 60 pixels to about 384
    sheet = draw_prediction_sheet([full_sample(), full_sample()], ["cat"])
    height = TITLE_HEIGHT + 2 * (HEIGHT * factor + GAP)
    assert is_picture(sheet, (height, GAP + len(COLUMNS) * (WIDTH * factor + GAP)))


def test_prediction_sheet_leaves_out_what_nobody_has():
    bare, with_cues = SheetSample(PHOTO), SheetSample(PHOTO, cues=PointCues.empty())
    sheet = draw_prediction_sheet([bare, with_cues])
    assert sheet.shape[1] == GAP + 2 * (6 * WIDTH + GAP)


def test_large_images_are_shrunk_after_drawing():
    sample = SheetSample(np.zeros((1024, 512, 3), dtype=np.uint8))
    assert is_picture(draw_prediction_sheet([sample]), (TITLE_HEIGHT + 512 + GAP, 256 + 2 * GAP))
