"""Weak semantic maps: index PNGs with a WSSS index a pixel."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFile

from bestie_d2.data.images import PNG_SIGNATURE, Size
from bestie_d2.data.labels.kept_classes import KeptClasses
from bestie_d2.data.names import missing
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

# What Pillow raises for a file that it cannot or will not read.
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# Pillow's modes of palette, 8-bit grey, 1-bit grey and 16-bit grey images
INDEX_MODES = ("P", "L", "1", "I;16", "I;16B", "I")
STEPS = {"L;2": 85, "L;4": 17}  # what Pillow multiplies the values of 2- and 4-bit grey by
MAX_CLASSES = IGNORE_INDEX - 1  # that fit into a map of bytes beside 0 and 255
LOOKED_AT_FIRST = 16  # maps, spread over the set; nearly always one of them holds a class
PNG_SIZE = struct.Struct(">8x8xII")  # signature, length and name of the first chunk; width, height


def read_weak_sem_seg(
    path: str, num_classes: int, size: Size | None = None, *, kept: KeptClasses | None = None
) -> np.ndarray:
    """(H, W) uint8 WSSS indices of a weak map, or any index PNG, palette or grey: 0 background,
    1..``num_classes``, 255 ignore. All else is refused, as is one not of ``size``.

    Where only some classes count, ``kept``, the PNG has the indices of all of them.
    """
    num_classes = len(kept.whole) if kept else num_classes
    check_class_limit(f"index map {path}", num_classes)
    try:
        with Image.open(path) as image:
            mode, array = image.mode, _indices(image)
    except FileNotFoundError:
        raise InputError(missing("index map", str(path))) from None
    except IMAGE_ERRORS as error:
        raise InputError(f"index map {path}: not a readable PNG ({error})") from None
    if mode not in INDEX_MODES:
        raise InputError(
            f"index map {path}: mode {mode}, expected class indices in a palette or grey 8-bit PNG"
        )
    if size is not None:
        _check_size(f"index map {path}", array.shape, size)
    wrong = array[(array > num_classes) & (array != IGNORE_INDEX)]
    if wrong.size:
        raise InputError(
            f"index map {path}: index {wrong.max()}, expected 0..{num_classes} or {IGNORE_INDEX}"
        )
    index_map = array.astype(np.uint8)
    return kept.index_map(index_map) if kept else index_map


def _indices(image: ImageFile.ImageFile) -> np.ndarray:
    """(H, W) of an unsigned type, the values as they are stored."""
    stored = image.tile[0].args if image.tile else ""
    array = np.array(image)
    if isinstance(stored, str) and stored in STEPS:
        return array // STEPS[stored]
    return array.view(np.uint32) if array.dtype == np.int32 else array


def _check_size(what: str, found: Sequence[int], size: Size) -> None:
    if tuple(found) != tuple(size):
        raise InputError(
            f"{what}: {found[0]}x{found[1]} pixels (height x width), but its image has "
            f"{size[0]}x{size[1]}"
        )


def check_map_size(path: str, size: Size) -> None:
    """Refuse a weak map that is no PNG or not of an image's size, by its head alone."""
    with open(path, "rb") as file:
        head = file.read(PNG_SIZE.size)
    if len(head) < PNG_SIZE.size or not head.startswith(PNG_SIGNATURE):
        raise InputError(f"weak map {path}: not a PNG file")
    _check_size(f"weak map {path}", PNG_SIZE.unpack(head)[::-1], size)


def check_class_limit(what: str, num_classes: int) -> None:
    """Refuse more classes than a weak map can hold; the line begins with ``what``."""
    if num_classes > MAX_CLASSES:
        raise InputError(
            f"{what}: {num_classes} classes, and weak maps, of a byte a pixel, hold at most "
            f"{MAX_CLASSES} beside background and unknown"
        )


def check_maps_hold_classes(folder: str, paths: Sequence[str]) -> None:
    """Refuse a set of weak maps in which there is 255 and, but for 0, nothing else: masks in black
    and white. Maps are read until one holds a class; those that cannot be read are passed over here
    and told of where their turn comes."""
    unknown = False
    first = paths[:: max(1, len(paths) // LOOKED_AT_FIRST)]
    for path in (*first, *paths):
        try:
            index_map = read_weak_sem_seg(path, MAX_CLASSES)
        except InputError:
            continue
        known = index_map != IGNORE_INDEX
        if (index_map[known] != BACKGROUND_INDEX).any():
            return
        unknown |= not known.all()
    if unknown:
        raise InputError(
            f"weak maps {folder}: hold nothing but 0 and 255 in all {len(paths)} pictures, and 255 "
            "means unknown, so that no picture would have any foreground; write the class there, "
            "as its index + 1 (1 for the first class)"
        )


def index_palette() -> list[int]:
    """PASCAL VOC's color of each WSSS index, 255 grey, as Pillow's flat palette for index PNGs."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    bits = np.pad(bits, ((0, 0), (0, 1))).reshape(256, 3, 3)  # of red, green, blue by thirds
    colors = (bits * [[128], [64], [32]]).sum(axis=1)
    colors[IGNORE_INDEX] = 128
    return colors.ravel().tolist()
