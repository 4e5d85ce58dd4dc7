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

from bestie_d2.errors import InputError
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
        def draw(low: float, high: float, unchanged: float) -> float:
            return random.uniform(low, high) if random.random() < 0.5 else unchanged

        distortion = partial(
            distort_colors,
            brightness=draw(-BRIGHTNESS, BRIGHTNESS, 0.0),
            contrast=draw(*CONTRAST, 1.0),
            hue=draw(-HUE, HUE, 0.0),
            contrast_first=random.random() < 0.5,
        )
        return T.ColorTransform(distortion)


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
        y, x = max(-self.top, 0), max(-self.left, 0)
        inside = source[max(self.top, 0) :, max(self.left, 0) :][: self.size - y, : self.size - x]
        window[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
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
    photometric = [RandomPhotometric()] if node.PHOTOMETRIC else []
    return [
        *photometric,
        ResizeLongSide(node.LONG_SIDE, node.SCALE_RANGE, node.SCALE_STEP),
        *_crop_and_flips(cfg, node, IGNORE_INDEX if node.IGNORE_PADDING else BACKGROUND_INDEX),
    ]


def color_jitter(cfg: CfgNode) -> ColorJitter:
    """Brightness, contrast, saturation (factors 1 +- these) and hue (turns), drawn at each call."""
    values = cfg.INPUT.TAGS.COLOR_JITTER
    try:
        brightness, contrast, saturation, hue = map(float, values)
        return ColorJitter(brightness, contrast, saturation, hue)
    except (TypeError, ValueError):
        raise InputError(
            f"INPUT.TAGS.COLOR_JITTER is {values}, expected [brightness, contrast, saturation, "
            "hue], each 0 or more, the hue up to 0.5"
        ) from None


def build_tag_augmentations(cfg: CfgNode) -> list[T.Augmentation | Transform]:
    """The augmentations that ``INPUT.TAGS`` describes, in order."""
    node = cfg.INPUT.TAGS
    resize = [T.Resize((node.RESIZE, node.RESIZE))] if node.RESIZE else []
    return [
        *resize,
        T.PILColorTransform(color_jitter(cfg)),
        *_crop_and_flips(cfg, node, IGNORE_INDEX),
    ]


def _crop_and_flips(cfg: CfgNode, node: CfgNode, map_value: int) -> list[T.Augmentation]:
    mean_color = [round(mean) for mean in cfg.MODEL.PIXEL_MEAN]
    flips = [(True, node.HORIZONTAL_FLIP), (False, node.VERTICAL_FLIP)]
    return [
        RandomPadCrop(node.CROP_SIZE, mean_color, map_value),
        *[T.RandomFlip(horizontal=h, vertical=not h) for h, wanted in flips if wanted],
    ]
