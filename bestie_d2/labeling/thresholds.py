"""Weak foreground by thresholds, for sets of one class, where a classifier has nothing to learn.

``otsu_local`` asks of a pixel to be brighter than its surroundings, which parts objects that touch,
and than a global level, which keeps the noise of the background out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.filters import threshold_li, threshold_local, threshold_otsu, threshold_triangle

from bestie_d2.errors import InputError
from bestie_d2.ops.components import find_components

Method = Literal["otsu", "li", "triangle", "local", "otsu_local"]
Polarity = Literal["auto", "bright", "dark"]
METHODS: tuple[str, ...] = get_args(Method)
POLARITIES: tuple[str, ...] = get_args(Polarity)

HISTOGRAM_BINS = 4096  # 16-bit images often use a small part of their range
SMALLEST_BLOCK = 3  # pixels


@dataclass(frozen=True)
class ForegroundRecipe:
    """How an image becomes a foreground mask. Lengths in pixels of the image.

    Attributes:
        method: one of ``METHODS``.
        polarity: objects are ``bright`` or ``dark``; ``auto``: what lies along most of the image's
            border is background.
        smooth: sigma of a Gaussian blur before the threshold, 0 for none.
        block_size: odd side of the Gaussian window of the local mean (``local``, ``otsu_local``);
            about twice an object's diameter.
        floor: global level of ``otsu_local``: 0 is the background's median, 1 the foreground's, as
            Otsu's threshold parts them.
        min_area: smaller components are dropped.
        fill_holes: background that objects enclose becomes foreground.
    """

    method: Method = "otsu_local"
    polarity: Polarity = "auto"
    smooth: float = 0.0
    block_size: int = 31
    floor: float = 0.25
    min_area: int = 15
    fill_holes: bool = True

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("polarity", POLARITIES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r}: expected {', '.join(known)}")
        if self.block_size < SMALLEST_BLOCK or self.block_size % 2 == 0:
            raise InputError(
                f"block size {self.block_size}: expected an odd number of pixels, "
                f"{SMALLEST_BLOCK} or more"
            )
        for name in ("smooth", "min_area", "floor"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} {getattr(self, name)}: expected 0 or more")


def weak_foreground(image: np.ndarray, recipe: ForegroundRecipe | None = None) -> np.ndarray:
    """Foreground of a grey image.

    Args:
        image: (H, W) of any number type and range.
        recipe: the default one if None.

    Returns:
        (H, W) bool; empty for an image of one value.
    """
    recipe = recipe or ForegroundRecipe()
    grey = image.astype(np.float64)
    if recipe.smooth > 0:
        grey = gaussian_filter(grey, recipe.smooth)
    if grey.min() == grey.max():
        return np.zeros(grey.shape, dtype=bool)
    if _objects_are_dark(grey, recipe.polarity):
        grey = grey.max() - grey
    mask = _above_threshold(grey, recipe)
    if recipe.fill_holes:
        mask = binary_fill_holes(mask)
    return find_components(mask.astype(np.uint8), [0], min_area=recipe.min_area).union()


def _otsu(grey: np.ndarray) -> float:
    return threshold_otsu(grey, nbins=HISTOGRAM_BINS)


def _objects_are_dark(grey: np.ndarray, polarity: Polarity) -> bool:
    if polarity != "auto":
        return polarity == "dark"
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return bool(np.mean(border > _otsu(grey)) > 1 / 2)


def _above_threshold(grey: np.ndarray, recipe: ForegroundRecipe) -> np.ndarray:
    if recipe.method == "li":
        return grey > threshold_li(grey)
    if recipe.method == "triangle":
        return grey > threshold_triangle(grey)
    if recipe.method == "otsu":
        return grey > _otsu(grey)
    above_surroundings = grey > threshold_local(grey, recipe.block_size)
    if recipe.method == "local":
        return above_surroundings
    otsu = _otsu(grey)
    background, objects = np.median(grey[grey <= otsu]), np.median(grey[grey > otsu])
    return above_surroundings & (grey > background + recipe.floor * (objects - background))
