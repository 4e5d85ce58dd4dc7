"""Layers of one picture: weak labels, what the network says, and instances, over the image.

Images are (H, W, 3) uint8 RGB, results new ones; maps and masks are the image's, in host memory.
Not by torchvision or Detectron2: ``draw_segmentation_masks`` blackens what two masks share,
``draw_keypoints`` knows no scores, and the labels of ``Visualizer`` hide small objects.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import flow_to_image

from bestie_d2.evaluation import failures
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, ObjectMask, PointCues

Array = np.ndarray | Tensor
Color = tuple[int, int, int]

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
OPACITY, DIMMED = 0.5, 0.6  # of weak maps and masks; the image's brightness under a heat map
CUE_RADIUS = 1 / 80  # of the image's shorter side
WHEEL_RADIUS, SMALLEST_WHEEL = 1 / 14, 10  # of the shorter side; pixels: less can't be read
TEXT_SIZE, MARGIN = 13, 2  # pixels
KIND_LINE = 3  # pixels of an outline that says what became of an instance
KIND_COLORS: dict[str, Color] = {
    failures.RIGHT: (40, 190, 70),
    failures.REPEATED: (255, 225, 0),
    failures.MERGED: (255, 0, 255),
    failures.LEAKED: (255, 130, 0),
    failures.FRAGMENT: (0, 210, 255),
    failures.WRONG: (150, 90, 255),
    **dict.fromkeys((failures.MISSED, failures.ALARM), (255, 0, 0)),  # never in one picture
}
GOLDEN_RATIO = (sqrt(5) - 1) / 2  # steps of it leave any number of hues well apart


@dataclass
class MaskSet:
    """Masks (N, H, W) bool, classes (N,) 0..C-1, scores (N,) or None; what no mask covers of a
    foreground, (H, W) bool, is grey. Where the truth is known, what became of each, (N,) kinds of
    ``evaluation.failures``."""

    masks: Array
    classes: Array
    scores: Array | None = None
    foreground: Array | None = None
    kinds: Sequence[str] | None = None


def instance_color(number: int) -> Color:
    """Color of the n-th instance, far from that of its neighbors in number."""
    return _color(0.08, number, 0.6 if number % 2 else 0.9)


def class_color(class_id: int) -> Color:
    """Color of class ``0..C-1``; the first is green, which stands out on most things."""
    return _color(0.38, class_id, 0.85)


def _color(first_hue: float, number: int, saturation: float) -> Color:
    hue = (first_hue + number * GOLDEN_RATIO) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_image(image: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) values as RGB; all but 8-bit ones are stretched from least to largest."""
    if image.dtype != np.uint8:
        low, high = image.min(initial=1), image.max(initial=0)
        image = np.rint((image - low) * (255.0 / ((high - low) or 1))).astype(np.uint8)
    return np.stack([image] * 3, axis=-1) if image.ndim == 2 else image


def brighten(image: np.ndarray) -> np.ndarray:
    """The image, stretched when hardly any of it is in the brighter half."""
    white = float(np.quantile(image, 0.995))
    if not 0 < white < 255 / 2:
        return image
    return np.rint((image * (255 / white)).clip(0, 255)).astype(np.uint8)


def draw_weak_map(image: np.ndarray, index_map: Array) -> np.ndarray:
    """The classes of (H, W) WSSS indices laid over the image; ignored pixels are grey."""
    indices = np.asarray(index_map).astype(np.int64)
    colors = np.array([BLACK, *map(class_color, range(IGNORE_INDEX - 1)), GREY])
    return _blend(image, colors[indices], OPACITY * (indices != BACKGROUND_INDEX))


def draw_cues(image: np.ndarray, cues: PointCues, radius: float = CUE_RADIUS) -> np.ndarray:
    """A dot of its class's color for each cue, in a white ring as closed as the cue is sure."""
    canvas, pixels = image.copy(), max(2, round(min(image.shape[:2]) * radius))
    columns = (cues.yx.tolist(), cues.classes.tolist(), cues.scores.tolist())
    for (y, x), class_id, score in zip(*columns, strict=True):
        center, turn = (round(x), round(y)), 360 * min(max(score, 0.0), 1.0)
        cv2.circle(canvas, center, pixels + 2, BLACK, -1, cv2.LINE_AA)
        cv2.ellipse(canvas, center, [pixels + 1] * 2, -90, 0, turn, WHITE, 1, cv2.LINE_AA)
        cv2.circle(canvas, center, pixels - 1, class_color(class_id), -1, cv2.LINE_AA)
    return canvas


def draw_activations(image: np.ndarray, maps: Array, classes: Sequence[int]) -> np.ndarray:
    """Activation maps, (K, H, W) in [0, 1], in their classes' colors over the dimmed image."""
    canvas = _blend(image, np.array(BLACK), np.array([[1 - DIMMED]]))
    for class_id, values in zip(classes, np.asarray(maps), strict=True):
        canvas = _blend(canvas, np.array(class_color(int(class_id))), values.clip(0, 1))
    return canvas


def draw_center_map(image: np.ndarray, center: Array) -> np.ndarray:
    """Heat of the highest class of a center map, (C, H, W) in [0, 1], over the dimmed image."""
    values = np.nan_to_num(np.asarray(center, np.float32)).max(axis=0, initial=0).clip(0, 1)
    levels = np.rint(values * 255).astype(np.uint8)
    heat = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    return _blend(image * DIMMED, heat, np.sqrt(values))


def draw_offsets(offset: Array, shown: Array | None = None, *, wheel: bool = True) -> np.ndarray:
    """(2, H, W) offsets as optical flow is drawn: white is none, the longest one is saturated; a
    small wheel says which way is which color. What is not ``shown``, (H, W) bool, is grey."""
    yx = np.nan_to_num(np.asarray(offset, np.float32), posinf=0, neginf=0)
    visible = np.ones(yx.shape[1:], bool) if shown is None else np.asarray(shown, bool)
    flow = flow_to_image(torch.from_numpy((yx * visible)[::-1].copy()))
    canvas = np.where(visible[..., None], flow.permute(1, 2, 0).numpy(), np.array(GREY, np.uint8))
    radius = round(min(visible.shape) * WHEEL_RADIUS)
    if wheel and radius >= SMALLEST_WHEEL:
        directions = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        corner = slice(-2 * radius - 1 - MARGIN, -MARGIN)
        inside = np.hypot(*directions) <= radius
        canvas[corner, corner] = draw_offsets(directions, inside, wheel=False)
    return canvas


def draw_instances(
    image: np.ndarray, found: MaskSet, class_names: Sequence[str] | None = None
) -> np.ndarray:
    """:func:`draw_objects` of whole masks; those without scores are drawn in their order."""
    masks, canvas = np.asarray(found.masks, bool), image
    scores = np.zeros(len(masks)) if found.scores is None else np.asarray(found.scores)
    if found.foreground is not None:
        rest = np.asarray(found.foreground, bool) & ~masks.any(axis=0)
        canvas = draw_weak_map(canvas, rest * IGNORE_INDEX)
    objects = [
        ObjectMask(int(class_id), float(score), (0, 0), mask)
        for class_id, score, mask in zip(found.classes, scores, masks, strict=True)
    ]
    scored = found.scores is not None
    return draw_objects(canvas, objects, class_names, with_scores=scored, kinds=found.kinds)


def draw_objects(
    image: np.ndarray,
    objects: Sequence[ObjectMask],
    class_names: Sequence[str] | None = None,
    *,
    with_scores: bool = True,
    kinds: Sequence[str] | None = None,
) -> np.ndarray:
    """Filled, outlined masks of different colors, the highest score on top; with ``class_names`` a
    mask that has room for them bears its class and score. Kinds of ``evaluation.failures`` color
    the outlines. Memory holds one crop at a time."""
    canvas = image.copy()
    order = np.argsort([found.score for found in objects], kind="stable").tolist()
    for number in order:
        color, window, mask = instance_color(number), *_window(objects[number])
        canvas[window] = _blend(canvas[window], np.array(color), OPACITY * mask)
        contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        part = np.ascontiguousarray(canvas[window])
        line = 1
        if kinds is not None:
            color, line = KIND_COLORS[kinds[number]], KIND_LINE
        canvas[window] = cv2.drawContours(part, contours, -1, color, line)
    if not class_names:
        return canvas
    picture, font = Image.fromarray(canvas), ImageFont.load_default(TEXT_SIZE)
    pen = ImageDraw.Draw(picture)
    for number in order:
        (rows, columns), mask = _window(objects[number])
        text = class_names[objects[number].class_id]
        text += f" {objects[number].score:.2f}" if with_scores else ""
        left, top, right, bottom = pen.textbbox((0, 0), text, font)
        height, width = mask.shape
        if width > right - left + 2 * MARGIN and height > bottom - top + 2 * MARGIN:
            middle = (columns.start + (width - 1) / 2, rows.start + (height - 1) / 2)
            pen.text(middle, text, WHITE, font, "mm", stroke_width=1, stroke_fill=BLACK)
    return np.array(picture)


def _window(found: ObjectMask) -> tuple[tuple[slice, slice], np.ndarray]:
    """The rows and columns that an object takes up, and its mask there."""
    x, y, width, height = cv2.boundingRect(found.mask.view(np.uint8))
    top, left = y + found.top_left[0], x + found.top_left[1]
    window = slice(top, top + height), slice(left, left + width)
    return window, np.ascontiguousarray(found.mask[y : y + height, x : x + width])


def _blend(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of colors over colors, by (H, W) opacities in [0, 1]."""
    share = opacity[..., None]
    return np.rint(below * (1 - share) + above * share).astype(np.uint8)
