"""Rows of pictures: what is in them, and how large they are."""

import numpy as np
import torch
from PIL import Image

from bestie_d2.pictures.dataset import mark_failures
from bestie_d2.pictures.overlays import KIND_COLORS, MaskSet
from bestie_d2.pictures.sheets import (
    COLUMNS,
    GAP,
    ROWS_A_SHEET,
    TITLE_HEIGHT,
    Layers,
    contact_sheet,
    draw_layers,
    write_sheets,
)
from bestie_d2.structures import PointCues

HEIGHT, WIDTH = 40, 60
PHOTO = np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8)


def full_layers() -> Layers:
    masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 2:30, 2:30] = True
    return Layers(
        image=PHOTO,
        weak_map=masks[0].byte(),
        activations=torch.rand(2, HEIGHT, WIDTH),
        tags=[0, 3],
        cues=PointCues(torch.tensor([[16.0, 16.0]]), torch.tensor([0]), torch.ones(1)),
        center=torch.rand(1, HEIGHT, WIDTH),
        offset=torch.randn(2, HEIGHT, WIDTH),
        instances={
            "prediction": MaskSet(masks, torch.tensor([0]), torch.tensor([0.7])),
            "truth": MaskSet(masks, torch.tensor([0])),
        },
    )


def test_all_that_is_known_is_drawn_enlarged():
    pictures = draw_layers(full_layers(), ["cat"])
    assert list(pictures) == [*COLUMNS, "prediction", "truth"]
    assert {picture.shape for picture in pictures.values()} == {(6 * HEIGHT, 6 * WIDTH, 3)}
    bare = draw_layers(Layers(PHOTO, cues=PointCues.empty()))
    assert list(bare) == ["image", "cues"]


def test_every_pixel_becomes_a_square():
    image = np.array([[[0], [50], [255]], [[100], [0], [0]]], dtype=np.uint8).repeat(3, axis=2)
    drawn = draw_layers(Layers(image), side=7)["image"]  # of 3 pixels: twice
    assert drawn[..., 0].tolist() == [
        [0, 0, 50, 50, 255, 255],
        [0, 0, 50, 50, 255, 255],
        [100, 100, 0, 0, 0, 0],
        [100, 100, 0, 0, 0, 0],
    ]


def test_cues_stay_in_the_middle_of_their_pixels():
    cue = PointCues(torch.tensor([[10.0, 20.0]]), torch.tensor([0]), torch.tensor([1.0]))
    drawn = draw_layers(Layers(PHOTO, cues=cue), side=180)["cues"]  # three times
    rows, columns = np.nonzero((drawn != 200).any(axis=2))
    assert (rows.min() + rows.max()) / 2 == 31
    assert (columns.min() + columns.max()) / 2 == 61


def test_large_images_are_shrunk_after_drawing():
    drawn = draw_layers(Layers(np.zeros((1024, 512, 3), np.uint8)))
    assert drawn["image"].shape == (512, 256, 3)
    small = draw_layers(Layers(PHOTO), side=20, largest=60)
    assert (small["image"] == PHOTO).all()


def test_contact_sheet_places_pictures_under_their_titles():
    small = np.full((10, 100, 3), 7, dtype=np.uint8)
    large = np.full((30, 120, 3), 9, dtype=np.uint8)
    sheet = contact_sheet([{"left": small, "right": large}, {"right": small}])
    assert sheet.dtype == np.uint8
    assert sheet.shape == (TITLE_HEIGHT + 30 + GAP + 10 + GAP, GAP + 100 + GAP + 120 + GAP, 3)
    assert (sheet[TITLE_HEIGHT : TITLE_HEIGHT + 10, GAP : GAP + 100] == 7).all()
    assert (sheet[TITLE_HEIGHT : TITLE_HEIGHT + 30, 2 * GAP + 100 : 2 * GAP + 220] == 9).all()
    below = TITLE_HEIGHT + 30 + GAP
    assert (sheet[below : below + 10, GAP : GAP + 100] == 255).all()
    assert (sheet[:TITLE_HEIGHT] != 255).any()
    assert contact_sheet([]).shape == (TITLE_HEIGHT, GAP, 3)


def test_columns_are_in_order_whatever_an_image_lacks():
    pixels = {number: np.full((10, 10, 3), number, np.uint8) for number in range(3)}
    first = {"image": pixels[0], "truth": pixels[2]}
    sheet = contact_sheet([first, {"image": pixels[0], "cues": pixels[1], "truth": pixels[2]}])
    last_row = sheet[-GAP - 1, GAP :: 10 + GAP, 0]
    assert last_row.tolist() == [0, 1, 2]


def test_a_few_images_share_a_sheet(tmp_path):
    files = write_sheets([full_layers()] * (ROWS_A_SHEET + 1), ["cat"], tmp_path / "drawn")
    assert [file.name for file in files] == ["drawn_1.png", "drawn_2.png"]
    assert all(file.is_file() for file in files)


def test_a_legend_where_the_truth_is_known(tmp_path):
    layers = full_layers()
    half = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    half[0, 2:30, 2:12] = True  # 10 of 28 columns
    layers.instances["labels"] = MaskSet(half, torch.tensor([0]))
    (plain,) = write_sheets([layers], ["cat"], tmp_path / "plain")
    mark_failures(layers.instances, "labels")
    kinds = {title: found.kinds for title, found in layers.instances.items()}
    assert kinds == {"prediction": ["right"], "truth": ["fragment"], "labels": ["fragment"]}
    (marked,) = write_sheets([layers], ["cat"], tmp_path / "marked")
    below = np.array(Image.open(marked))[Image.open(plain).height :]
    assert below.shape[0] == TITLE_HEIGHT
    row = below[TITLE_HEIGHT // 2 - GAP // 2]
    assert {tuple(map(int, pixel)) for pixel in row} >= set(KIND_COLORS.values())


def test_without_truth_nothing_is_marked():
    layers = full_layers()
    del layers.instances["truth"]
    mark_failures(layers.instances, "prediction")
    assert layers.instances["prediction"].kinds is None
