"""Weak maps: what they can hold, and sets of them that hold no class."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bestie_d2.data.labels.index_png import check_maps_hold_classes, read_weak_sem_seg
from bestie_d2.errors import InputError


def write_maps(folder: Path, *maps: list) -> list[str]:
    paths = [str(folder / f"{number}.png") for number in range(len(maps))]
    for path, values in zip(paths, maps, strict=True):
        Image.fromarray(np.array([values], np.uint8)).save(path)
    return paths


def test_black_and_white_masks_are_refused(tmp_path):
    paths = write_maps(tmp_path, *[[0, 255]] * 40)
    with pytest.raises(InputError) as told:
        check_maps_hold_classes("maps", paths)
    assert str(told.value).startswith("weak maps maps: hold nothing but 0 and 255 in all 40 pict")
    assert "index + 1" in str(told.value)


@pytest.mark.parametrize("others", [[[0, 1]], [[2, 255]]])
def test_one_class_in_the_set_is_enough(others, tmp_path):
    check_maps_hold_classes("maps", write_maps(tmp_path, *[[0, 255]] * 40, *others))


def test_a_set_of_background_is_no_set_of_masks(tmp_path):
    check_maps_hold_classes("maps", write_maps(tmp_path, [0, 0], [0, 0]))
    check_maps_hold_classes("maps", [])


def test_unreadable_maps_are_told_of_elsewhere(tmp_path):
    paths = [*write_maps(tmp_path, [0, 255]), str(tmp_path / "none.png")]
    with pytest.raises(InputError, match="nothing but 0 and 255"):
        check_maps_hold_classes("maps", paths)


def test_maps_of_16_bits(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 1, 255]], np.uint16)).save(path)
    read = read_weak_sem_seg(path, 1)
    assert read.dtype == np.uint8
    assert read.tolist() == [[0, 1, 255]]
    Image.fromarray(np.array([[0, 257, 255]], np.uint16)).save(path)  # 1, if it were cut
    with pytest.raises(InputError, match=r"a\.png: index 257, expected 0\.\.1 or 255"):
        read_weak_sem_seg(path, 1)


def grey_png(bits: int, row: bytes, width: int) -> bytes:
    """A grey PNG of one row, of fewer than 8 bits, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(
            ">I", zlib.crc32(name + content)
        )  # fmt: skip

    head = struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_maps_of_few_bits_hold_indices_not_shades(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(grey_png(4, bytes([0x01, 0x2F]), 4))
    assert read_weak_sem_seg(path, 20).tolist() == [[0, 1, 2, 15]]
    path.write_bytes(grey_png(2, bytes([0b00011011]), 4))
    assert read_weak_sem_seg(path, 3).tolist() == [[0, 1, 2, 3]]


def test_more_classes_than_a_map_can_hold(tmp_path):
    (path,) = write_maps(tmp_path, [0, 254])
    assert read_weak_sem_seg(path, 254).tolist() == [[0, 254]]
    with pytest.raises(InputError, match=r"0\.png: 255 classes, and weak maps, .* at most 254"):
        read_weak_sem_seg(path, 255)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    (path,) = write_maps(tmp_path, [0, 1, 2, 0, 0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(InputError, match=r"0\.png: not a readable PNG \(Image size \(5 pixels\)"):
        read_weak_sem_seg(path, 2)
