"""Colors of classes, of instances, and of the indices in index PNGs."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

import numpy as np
from skimage.color import hsv2rgb

from bestie_d2.structures import IGNORE_INDEX, wsss_index

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
HIGHEST = 255  # of a color channel
COLOR_BITS = 8
GOLDEN_RATIO = (sqrt(5) - 1) / 2  # steps of it leave any number of hues well apart
FIRST_HUE = 0.08
INSTANCE_SATURATION = (0.9, 0.6)  # alternating
FIRST_CLASS_HUE = 0.38  # green stands out on most things
CLASS_SATURATION = 0.85


def from_unit(values: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8."""
    return np.rint(values * HIGHEST).astype(np.uint8)


@lru_cache(maxsize=1)
def index_colors() -> np.ndarray:
    """(256, 3) uint8 PASCAL VOC's color of each index, with 1 for class 0; 255 is grey."""
    indices = np.arange(IGNORE_INDEX + 1)
    colors = np.zeros((len(indices), 3), dtype=np.uint8)
    for place in range(COLOR_BITS):
        for channel in range(3):
            bit = (indices >> (3 * place + channel)) & 1
            colors[:, channel] |= (bit << (COLOR_BITS - 1 - place)).astype(np.uint8)
    colors[IGNORE_INDEX] = GREY
    colors.setflags(write=False)
    return colors


def index_palette() -> list[int]:
    """The same colors as Pillow's flat palette, for index PNGs."""
    return index_colors().ravel().tolist()


def instance_color(number: int) -> np.ndarray:
    """(3,) uint8 color of the n-th instance, far from that of its neighbors in number."""
    saturation = INSTANCE_SATURATION[number % len(INSTANCE_SATURATION)]
    return _color(FIRST_HUE + number * GOLDEN_RATIO, saturation)


def class_color(class_id: int) -> np.ndarray:
    """(3,) uint8 color of class ``0..C-1`` in pictures, brighter than that of index PNGs."""
    return _color(FIRST_CLASS_HUE + class_id * GOLDEN_RATIO, CLASS_SATURATION)


@lru_cache(maxsize=1)
def weak_map_colors() -> np.ndarray:
    """(256, 3) uint8 color of each WSSS index."""
    classes = range(IGNORE_INDEX - wsss_index(0))
    colors = np.array([BLACK, *map(class_color, classes), GREY], dtype=np.uint8)
    colors.setflags(write=False)
    return colors


def _color(hue: float, saturation: float) -> np.ndarray:
    return from_unit(hsv2rgb(np.array([hue % 1, saturation, 1.0])))
