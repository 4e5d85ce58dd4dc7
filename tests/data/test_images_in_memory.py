"""What the reader of images makes of arrays and of Pillow's images, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bestie_d2.data.images import ON_WHITE, ImageReader
from bestie_d2.errors import InputError

RAMP = np.array([[0, 1, 2], [3, 4, 5]])
SPREAD = [[0, 51, 102], [153, 204, 255]]  # the ramp over 0..255
ORIENTATION = 274
READER = ImageReader()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_are_read_as_files_of_their_values(dtype):
    ramp = (RAMP * 51).astype(dtype)
    color = np.stack([ramp, ramp[::-1], ramp], axis=-1)
    for values in (ramp, ramp[..., None]):
        assert READER.take(values).values.tolist() == SPREAD
    assert READER.take(color).pixels("RGB")[..., 1].tolist() == SPREAD[::-1]
    for array_format, channel in (("RGB", 0), ("BGR", 2)):
        marked = color.copy()
        marked[..., channel] = 0
        pixels = READER.take(marked, array_format).pixels("RGB")
        assert not pixels[..., 0].any()
        assert pixels[..., 2].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_opacity_of_arrays(dtype):
    values = np.zeros((2, 3, 4), dtype)
    values[:, 0, :3], values[:, 1:, 3] = 0, np.iinfo(dtype).max
    values[0, 2, :3] = np.iinfo(dtype).max
    picture = READER.take(values)
    assert picture.pixels("RGB")[..., 0].tolist() == [[255, 0, 255], [255, 0, 0]]
    assert ON_WHITE in picture.traits


def test_pillow_images_are_read_as_their_files(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)
    assert READER.take(Image.open(path)).values.shape == READER.open(str(path)).values.shape
    deep = Image.fromarray((RAMP * 1000).astype(np.uint16))
    assert READER.take(deep).values.tolist() == SPREAD


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (np.zeros((4, 5, 2), np.uint8), "an array of 4x5x2"),
        (np.zeros((0, 5), np.uint8), "an array of 0x5"),
        (np.zeros((4, 5), bool), "an array of bool"),
    ],
)
def test_arrays_that_are_no_picture(values, line):
    with pytest.raises(InputError, match=line):
        READER.take(values)
