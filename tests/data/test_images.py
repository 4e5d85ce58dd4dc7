"""The one reader of images: what it makes of files of every kind, and what it refuses."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from detectron2.data.detection_utils import read_image
from PIL import Image

from bestie_d2.data.deep_images import Intensity
from bestie_d2.data.images import (
    BLACK,
    DEPTH,
    FIRST_OF_SEVERAL,
    ON_WHITE,
    TURNED,
    ImageReader,
    image_size,
)
from bestie_d2.errors import InputError

RAMP = np.array([[0, 1, 2], [3, 4, 5]])
SPREAD = [[0, 51, 102], [153, 204, 255]]  # the ramp over 0..255
ORIENTATION = 274
READER = ImageReader()


def grey_of(path: Path, reader: ImageReader = READER) -> list[list[int]]:
    """The one channel that all three are."""
    pixels = reader.read(str(path))
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()
    assert image_size(str(path)) == pixels.shape[:2]
    return pixels[..., 0].tolist()


def scaled_from(depth: str, reader: ImageReader = READER) -> str:
    return DEPTH.format(depth, reader.intensity.describe())


# -- 8 bits: as Detectron2 reads them


@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "CMYK"])
def test_ordinary_images_are_what_detectron2_reads(mode, image_format, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    suffix = "tif" if mode == "CMYK" else "png"
    path = str(tmp_path / f"a.{suffix}")
    Image.fromarray(values).convert(mode).save(path)
    assert (ImageReader(image_format).read(path) == read_image(path, image_format)).all()


def test_luminance_of_color_and_of_grey(tmp_path):
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).save(
        tmp_path / "a.png"
    )
    assert READER.read_grey(str(tmp_path / "a.png")) == pytest.approx(
        np.array([[0.2125, 0.7154, 0.0721]])
    )
    Image.fromarray(np.array([[7, 9]], np.uint8)).save(tmp_path / "b.png")
    assert READER.read_grey(str(tmp_path / "b.png")).tolist() == [[7, 9]]


# -- deeper than 8 bits


@pytest.mark.parametrize(
    ("dtype", "step"),
    [
        (np.uint16, 13106),  # nearly all of it
        (np.uint16, 800),  # 12 bits of 16
        (np.int16, 1000),
        (np.uint32, 800_000_000),  # Pillow takes the upper half for negative
        (np.float32, 0.2),
        (np.float64, 1e9),
        (np.float16, 0.2),
    ],
)
def test_deep_tiffs_are_scaled_by_their_own_range(dtype, step, tmp_path):
    values = (RAMP * step).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values + dtype(1), photometric="minisblack")
    assert grey_of(tmp_path / "a.tif") == SPREAD
    rgb = np.stack([values] * 3, axis=-1)
    tifffile.imwrite(tmp_path / "b.tif", rgb, photometric="rgb", planarconfig="contig")
    assert grey_of(tmp_path / "b.tif") == SPREAD
    planes = np.stack([values] * 3)
    tifffile.imwrite(tmp_path / "c.tif", planes, photometric="rgb", planarconfig="separate")
    assert grey_of(tmp_path / "c.tif") == SPREAD
    tifffile.imwrite(tmp_path / "d.tif", values, photometric="miniswhite")
    assert grey_of(tmp_path / "d.tif") == (255 - np.array(SPREAD)).tolist()


@pytest.mark.parametrize("orientation", [1, 6])
def test_compressed_deep_tiffs(orientation, tmp_path):
    path = tmp_path / "a.tif"
    tags = {ORIENTATION: orientation}
    image = Image.fromarray((RAMP * 800).astype(np.uint16))
    image.save(path, compression="tiff_lzw", tiffinfo=tags)
    turned = np.rot90(SPREAD, 0 if orientation == 1 else -1)
    assert grey_of(path) == turned.tolist()


def test_deep_pngs(tmp_path):
    values = (RAMP * 800).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert grey_of(tmp_path / "a.png") == SPREAD
    # One channel has a fifth of the range that all three share.
    blue, green, red = RAMP * 800, RAMP * 0, RAMP * 160
    rgb = np.stack([blue, green, red], axis=-1).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "b.png"), rgb)
    pixels = READER.read(str(tmp_path / "b.png"))
    assert pixels[..., 2].tolist() == SPREAD
    assert pixels[..., 1].max() == 0
    assert pixels[..., 0].tolist() == [[0, 10, 20], [31, 41, 51]]
    assert ImageReader("BGR").read(str(tmp_path / "b.png"))[..., 0].tolist() == SPREAD


def test_an_image_of_one_value_is_black(tmp_path):
    Image.fromarray(np.full((2, 3), 700, np.uint16)).save(tmp_path / "a.png")
    assert grey_of(tmp_path / "a.png") == [[0] * 3] * 2


def test_a_fixed_range_and_percentiles(tmp_path):
    values = np.array([[0, 100, 200, 300, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    fixed = ImageReader(intensity=Intensity(fixed_range=(100, 300)))
    assert grey_of(tmp_path / "a.png", fixed) == [[0, 0, 128, 255, 255]]
    inner = ImageReader(intensity=Intensity(percentiles=(25.0, 75.0)))
    assert grey_of(tmp_path / "a.png", inner) == [[0, 0, 128, 255, 255]]
    Image.fromarray(np.array([[5, 5, 5, 5, 9]], np.uint16)).save(tmp_path / "b.png")
    assert grey_of(tmp_path / "b.png", inner) == [[0, 0, 0, 0, 255]]  # its own range


def test_a_few_hot_pixels_do_not_make_the_rest_black(tmp_path):
    """Of 2,000 pixels two at each end are left out; 1 becomes black, 1998 white."""
    values = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    values[-1, -1] = 65535
    Image.fromarray(values).save(tmp_path / "a.png")
    (first, *_, last) = grey_of(tmp_path / "a.png")
    assert first[:4] == [0, 0, 0, 0]
    assert first[-1] == 6  # 48 * 255 / 1997
    assert last[-3:] == [255, 255, 255]
    assert last[0] == 249  # 1949 * 255 / 1997
    whole = ImageReader(intensity=Intensity(percentiles=(0.0, 100.0)))
    assert grey_of(tmp_path / "a.png", whole)[-1][-2:] == [8, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(value, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, value]], np.float32))
    with pytest.raises(InputError, match=r"image .*a\.tif: has values that are no numbers"):
        READER.read(str(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"percentiles": (1,)}, "INPUT.INTENSITY.PERCENTILES"),
        ({"percentiles": (-1, 99)}, "INPUT.INTENSITY.PERCENTILES"),
        ({"percentiles": (1, 101)}, "INPUT.INTENSITY.PERCENTILES"),
        ({"percentiles": ("a", "b")}, "INPUT.INTENSITY.PERCENTILES"),
        ({"fixed_range": (5, 5)}, "INPUT.INTENSITY.RANGE"),
        ({"fixed_range": (5,)}, "INPUT.INTENSITY.RANGE"),
    ],
)
def test_rules_that_are_none(arguments, key):
    with pytest.raises(InputError, match=key):
        Intensity(**arguments)


# -- turned by EXIF

TURNED_RAMPS = {
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


@pytest.mark.parametrize("deep", [False, True], ids=["8-bit", "16-bit"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", TURNED_RAMPS)
def test_the_exif_turn(orientation, suffix, deep, tmp_path):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray((RAMP * 51).astype(np.uint16 if deep else np.uint8)).save(path, exif=exif)
    shown = np.array(TURNED_RAMPS[orientation]) * 51
    assert grey_of(path) == shown.tolist()
    assert READER.read_grey(str(path)).tolist() == shown.tolist()
    assert (TURNED in READER.open(str(path)).traits) == (orientation != 1)


def test_a_stated_size_before_the_turn(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = str(tmp_path / "a.png")
    Image.fromarray(RAMP.astype(np.uint8)).save(path, exif=exif)
    assert READER.read_of({"file_name": path, "height": 3, "width": 2}).shape == (3, 2, 3)
    with pytest.raises(InputError, match=r"a\.png: 3x2 .* says 2x3, its size before .* EXIF"):
        READER.read_of({"file_name": path, "height": 2, "width": 3})


# -- transparency


def test_transparency_is_put_on_white(tmp_path):
    grey_alpha = np.array([[[100, 255], [100, 0], [100, 51]]], np.uint8)
    Image.fromarray(grey_alpha).save(tmp_path / "a.png")
    assert grey_of(tmp_path / "a.png") == [[100, 255, 224]]
    rgba = grey_alpha[..., [0, 0, 0, 1]]
    Image.fromarray(rgba).save(tmp_path / "b.png")
    assert grey_of(tmp_path / "b.png") == [[100, 255, 224]]
    assert READER.open(str(tmp_path / "b.png")).traits == (ON_WHITE,)
    assert READER.read_grey(str(tmp_path / "b.png"))[0, 1] == pytest.approx(1)
    key = Image.fromarray(np.array([[1, 7, 9]], np.uint8))
    key.save(tmp_path / "c.png", transparency=7)
    assert grey_of(tmp_path / "c.png") == [[1, 255, 9]]
    palette = key.convert("RGB").quantize(3)
    palette.save(tmp_path / "d.png", transparency=palette.getpixel((1, 0)))
    assert grey_of(tmp_path / "d.png") == [[1, 255, 9]]


def test_what_is_hidden_counts_for_nothing_in_deep_images(tmp_path):
    rgb, opaque = [[0, 500, 1000, 60000]], 65535
    alpha = np.array([[opaque, opaque, opaque, 0]])
    rgba = np.stack([*[np.array(rgb)] * 3, alpha], axis=-1).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), rgba)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tif"):
        assert grey_of(tmp_path / name) == [[0, 128, 255, 255]]
        assert READER.open(str(tmp_path / name)).traits == (ON_WHITE, scaled_from("16-bit"))


def test_opaque_images_stay(tmp_path):
    image = Image.fromarray(np.array([[1, 7, 9]], np.uint8)).convert("RGBA")
    image.save(tmp_path / "a.png")
    assert grey_of(tmp_path / "a.png") == [[1, 7, 9]]
    assert READER.open(str(tmp_path / "a.png")).traits == ()


# -- pages


def test_the_first_of_several_pictures_of_a_phone(tmp_path):
    first, second = (Image.new("RGB", (16, 8), color) for color in ("white", "black"))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert READER.open(str(tmp_path / "a.jpg")).traits == (FIRST_OF_SEVERAL,)
    assert READER.read(str(tmp_path / "a.jpg")).min() == 255


def test_a_smaller_preview_is_no_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(RAMP.astype(np.uint8))
        tiff.write(RAMP[:1].astype(np.uint8), subfiletype=1)
    assert grey_of(tmp_path / "a.tif") == RAMP.tolist()


def animation(path: Path) -> None:
    first, second = (Image.new("L", (4, 3), value) for value in (10, 200))
    first.save(path, save_all=True, append_images=[second])


def imagej_stack(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((2, 3, 4), np.uint16), imagej=True)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.tif", animation),
        ("a.gif", animation),
        ("a.png", animation),
        ("a.webp", animation),
        ("a.tiff", imagej_stack),
    ],
)
def test_stacks_are_refused(name, write, tmp_path):
    write(tmp_path / name)
    for read in (READER.read, READER.read_grey, image_size):
        with pytest.raises(InputError, match=rf"^image .*{name}: holds 2 pages, .* of its own$"):
            read(str(tmp_path / name))


# -- everything else


def channels(number: int, dtype: type, **options: object) -> bytes:
    content = io.BytesIO()
    values = np.zeros((3, 4, number), dtype)
    tifffile.imwrite(content, values, **{"planarconfig": "contig", **options})
    return content.getvalue()


def torn(image: Image.Image, suffix: str) -> bytes:
    content = io.BytesIO()
    image.save(content, suffix)
    return content.getvalue()[:-200]


NOISE = np.random.default_rng(0).integers(0, 60000, (40, 40, 3))
DEEP_PNG = cv2.imencode(".png", NOISE.astype(np.uint16))[1].tobytes()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.tif", channels(5, np.uint8, photometric="rgb"), "5 channels, expected 1"),
        ("a.tif", channels(2, np.uint8, photometric="minisblack"), "2 channels, expected 1"),
        ("a.tif", channels(3, np.uint16, photometric="minisblack"), "3 channels, expected 1"),
        ("a.tif", channels(4, np.uint16, photometric="separated"), "neither grey nor RGB"),
        ("a.png", torn(Image.fromarray(NOISE[..., 0].astype(np.uint16)), "PNG"), "not a readable"),
        ("a.tif", torn(Image.fromarray(NOISE[..., 0].astype(np.uint16)), "TIFF"), "not a readable"),
        ("a.png", cv2.imencode(".png", NOISE.astype(np.uint16))[1][:-200], "not a readable"),
        (
            "a.png",
            DEEP_PNG[:16] + b"\0\0\x30\0" * 2 + DEEP_PNG[24:],
            "not a readable",
        ),  # 12288x12288
        ("a.png", DEEP_PNG[:33] + b"\x7f" + DEEP_PNG[34:], "not a readable"),  # a chunk of 2 GiB
        ("a.tif", b"II*\0", "not a readable"),
        ("a.png", b"", "not a readable"),
        ("a.jpg", None, "no such file"),
    ],
)
def test_refusals_name_the_file(name, content, line, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(bytes(content))
    for read in (READER.read, READER.read_grey):
        with pytest.raises(InputError, match=rf"^image .*{name}: [^\n]*{line}[^\n]*$"):
            read(str(tmp_path / name))


def test_nothing_to_be_seen(tmp_path):
    Image.new("RGBA", (3, 2), (9, 9, 9, 0)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: is transparent all over"):
        READER.read(str(tmp_path / "a.png"))


def test_a_bomb_is_refused_whoever_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    tifffile.imwrite(tmp_path / "a.tif", RAMP.astype(np.float64))
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        with pytest.raises(InputError, match=rf"{name}: not a readable image"):
            READER.read(str(tmp_path / name))


def test_a_few_bright_pixels(tmp_path):
    values = np.full((20, 20), 100, np.uint16)
    values[5:9, 5:9] = 300
    values[0, 0] = 65535
    Image.fromarray(values).save(tmp_path / "a.png")
    assert READER.open(str(tmp_path / "a.png")).traits == (scaled_from("16-bit"), BLACK)
    inner = ImageReader(intensity=Intensity(percentiles=(1.0, 99.0)))
    assert inner.open(str(tmp_path / "a.png")).traits == (scaled_from("16-bit", inner),)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_tall_images_are_taken_over_in_bands(mode, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (2500, 3, 3), dtype=np.uint8)
    image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png")
    assert (READER.open(str(tmp_path / "a.png")).values == np.asarray(image)).all()
