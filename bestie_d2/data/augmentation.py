"""The released training augmentation as Detectron2 augmentations: image and map move together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform
from torchvision.transforms import ColorJitter

from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

BRIGHTNESS = 16.0  # added to every value of 0..255, at most
CONTRAST = (0.5, 1.5)  # factor on every value
HUE = 36.0  # degrees, at most
FULL_TURN = 360.0  # degrees
SIDE_STEP = 32  # resized sides are a multiple of it, plus 1


def distort_colors(
    image: np.ndarray, *, brightness: float, contrast: float, hue: float, contrast_first: bool
) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the same, distorted in float and rounded at the end."""
    x: np.ndarray = image.astype(np.float32) + np.float32(brightness)
    if contrast_first:
        x *= np.float32(contrast)
    if hue:
        hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)  # hue in degrees
        turned = hsv[..., 0] + np.float32(hue)
        turned[turned < 0] += FULL_TURN  # many times faster than a remainder
        turned[turned >= FULL_TURN] -= FULL_TURN
        hsv[..., 0] = turned
        x = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if not contrast_first:
        x *= np.float32(contrast)
    np.rint(x, out=x)
    return np.clip(x, 0, 255, out=x).astype(np.uint8)


class RandomPhotometric(T.Augmentation):
    """Each of brightness, contrast and hue with chance 1/2; contrast before or after the hue."""

    def get_transform(self, image: np.ndarray) -> Transform:
        def chance() -> bool:
            return random.random() < 0.5

        distortion = partial(
            distort_colors,
            brightness=random.uniform(-BRIGHTNESS, BRIGHTNESS) if chance() else 0.0,
            contrast=random.uniform(*CONTRAST) if chance() else 1.0,
            hue=random.uniform(-HUE, HUE) if chance() else 0.0,
            contrast_first=chance(),
        )
        return T.ColorTransform(distortion)


class RandomColorJitter(T.Augmentation):
    """torchvision's color jitter of an RGB image."""

    def __init__(self, strengths: Sequence[float]) -> None:
        """
        Args:
            strengths: of brightness, contrast, saturation (factors 1 +- these) and hue (turns).
        """
        super().__init__()
        self.jitter = ColorJitter(*strengths)

    def get_transform(self, image: np.ndarray) -> Transform:
        return T.PILColorTransform(self.jitter)


class ResizeLongSide(T.Augmentation):
    """Resize so that the longer side has ``long_side`` pixels times a random scale."""

    def __init__(self, long_side: int, scale_range: list[float], scale_step: float) -> None:
        super().__init__()
        low, high = scale_range
        steps = round((high - low) / scale_step) if scale_step else 0
        self.long_side = long_side
        self.scales = [low + (high - low) * i / max(steps, 1) for i in range(steps + 1)]

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        scale = random.choice(self.scales)

        def resized(side: int) -> int:
            base = side * self.long_side / max(height, width)
            on_grid = max(round((base - 1) / SIDE_STEP), 1) * SIDE_STEP + 1
            return max(round(on_grid * scale), 1)

        return T.ResizeTransform(height, width, resized(height), resized(width))


class PadCropTransform(Transform):
    """A square window of an image; what lies outside of the image is filled."""

    def __init__(
        self, top: int, left: int, size: int, image_color: Sequence[int], map_value: int
    ) -> None:
        """
        Args:
            top, left: the window's corner in pixels of the image; below 0 it begins outside.
            size: side of the window.
            image_color, map_value: what image and weak map are filled with.
        """
        super().__init__()
        self.top, self.left, self.size = top, left, size
        self.image_color, self.map_value = image_color, map_value

    def _window(self, source: np.ndarray, filling: Sequence[int] | int) -> np.ndarray:
        window = np.empty((self.size, self.size, *source.shape[2:]), dtype=source.dtype)
        window[:1] = filling
        window[1:] = window[:1]  # row by row is several times faster than pixel by pixel
        height, width = source.shape[:2]
        rows = slice(max(self.top, 0), min(self.top + self.size, height))
        columns = slice(max(self.left, 0), min(self.left + self.size, width))
        window[
            rows.start - self.top : rows.stop - self.top,
            columns.start - self.left : columns.stop - self.left,
        ] = source[rows, columns]
        return window

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return self._window(img, self.image_color)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self._window(segmentation, self.map_value)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """(N, 2) of (x, y)."""
        return coords - np.array([self.left, self.top])


class RandomPadCrop(T.Augmentation):
    """Pad to a square of ``size`` pixels at a random place, then crop one at random."""

    def __init__(self, size: int, image_color: Sequence[int], map_value: int) -> None:
        super().__init__()
        self.size, self.image_color, self.map_value = size, image_color, map_value

    def get_transform(self, image: np.ndarray) -> Transform:
        top, left = (
            random.randint(min(side - self.size, 0), max(side - self.size, 0))
            for side in image.shape[:2]
        )
        return PadCropTransform(top, left, self.size, self.image_color, self.map_value)


def build_training_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The augmentations that ``INPUT.BESTIE`` describes, in order."""
    node = cfg.INPUT.BESTIE
    augmentations = [RandomPhotometric()] if node.PHOTOMETRIC else []
    augmentations += [
        ResizeLongSide(node.LONG_SIDE, node.SCALE_RANGE, node.SCALE_STEP),
        RandomPadCrop(
            node.CROP_SIZE,
            image_color=_mean_color(cfg),
            map_value=IGNORE_INDEX if node.IGNORE_PADDING else BACKGROUND_INDEX,
        ),
    ]
    return augmentations + _build_flips(node)


def build_tag_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The augmentations that ``INPUT.TAGS`` describes, in order."""
    node = cfg.INPUT.TAGS
    augmentations = [T.Resize((node.RESIZE, node.RESIZE))] if node.RESIZE else []
    augmentations += [
        RandomColorJitter(node.COLOR_JITTER),
        RandomPadCrop(node.CROP_SIZE, _mean_color(cfg), map_value=IGNORE_INDEX),
    ]
    return augmentations + _build_flips(node)


def _mean_color(cfg: CfgNode) -> list[int]:
    return [round(mean) for mean in cfg.MODEL.PIXEL_MEAN]


def _build_flips(node: CfgNode) -> list[T.Augmentation]:
    flips = [(True, node.HORIZONTAL_FLIP), (False, node.VERTICAL_FLIP)]
    return [T.RandomFlip(horizontal=h, vertical=not h) for h, wanted in flips if wanted]
