"""Pictures of weak labels, of what the network says, and of instances.

Every ``draw_*`` function takes an image, NumPy or tensor, and returns a new (H, W, 3) uint8 RGB
array of its size. Maps and masks are those of the image, points are (y, x) in its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.color import hsv2rgb
from torch import Tensor

from bestie_d2.pictures.colors import (
    BLACK,
    GREY,
    HIGHEST,
    WHITE,
    class_color,
    from_unit,
    instance_color,
    weak_map_colors,
)
from bestie_d2.structures import BACKGROUND_INDEX, PointCues

Array = np.ndarray | Tensor

NEARLY_ALL = 0.995  # share of the values that are at most an image's white
MAP_OPACITY = 0.5
MASK_OPACITY = 0.5
DIMMED = 0.6  # of the image's brightness, under a heat map
CUE_RADIUS = 1 / 80  # of the image's shorter side
LEGEND_RADIUS = 1 / 14  # of the image's shorter side
LEGEND_SMALLEST = 10  # pixels; a smaller wheel can't be read and is left out
TEXT_SIZE = 13  # pixels
TEXT_MARGIN = 2  # pixels


def to_numpy(array: Array) -> np.ndarray:
    """A tensor on any device, or an array, as an array."""
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def draw_image(image: Array) -> np.ndarray:
    """Any image as RGB: (H, W), (H, W, 3), or a tensor (3, H, W).

    8-bit values stay; floats are taken for 0..255 when they fit and are not all within 0..1;
    everything else is stretched from its smallest to its largest value.
    """
    array = to_numpy(image)
    if isinstance(image, Tensor) and array.ndim == len(WHITE):
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8:
        array = array.astype(np.float64)
        low, high = (array.min(), array.max()) if array.size else (0, 0)
        if not (low >= 0 and 1 < high <= HIGHEST):
            array = (array - low) * (HIGHEST / ((high - low) or 1))
        array = array.round().astype(np.uint8)
    return np.stack([array] * 3, axis=-1) if array.ndim == 2 else array.copy()


def brighten(image: np.ndarray) -> np.ndarray:
    """An (H, W, 3) uint8 image, stretched when hardly any of it is in the brighter half."""
    white = float(np.quantile(image, NEARLY_ALL)) if image.size else HIGHEST
    if not 0 < white < HIGHEST / 2:
        return image
    return np.rint((image * (HIGHEST / white)).clip(0, HIGHEST)).astype(np.uint8)


def draw_weak_map(image: Array, index_map: Array) -> np.ndarray:
    """The classes of (H, W) WSSS indices laid over the image; ignored pixels are grey."""
    canvas, indices = draw_image(image), to_numpy(index_map)
    shown = indices != BACKGROUND_INDEX
    return _blend(canvas, weak_map_colors()[indices.astype(np.int64)], MAP_OPACITY * shown)


def draw_cues(image: Array, cues: PointCues, *, radius: float = CUE_RADIUS) -> np.ndarray:
    """A dot of its class's color for each cue, in a white ring as closed as the cue is sure.

    Args:
        radius: of a dot, as a share of the image's shorter side; at least two pixels.
    """
    canvas = draw_image(image)
    radius = max(2, round(min(canvas.shape[:2]) * radius))
    columns = (cues.yx.tolist(), cues.classes.tolist(), cues.scores.tolist())
    for (y, x), class_id, score in zip(*columns, strict=True):
        spot, color = (round(x), round(y)), class_color(class_id).tolist()
        cv2.circle(canvas, spot, radius + 2, BLACK, -1, cv2.LINE_AA)
        sweep = 360 * min(max(score, 0.0), 1.0)
        axes = (radius + 1, radius + 1)
        cv2.ellipse(canvas, spot, axes, -90, 0, sweep, WHITE, 1, cv2.LINE_AA)
        cv2.circle(canvas, spot, radius - 1, color, -1, cv2.LINE_AA)
    return canvas


def draw_activations(image: Array, maps: Array, classes: Sequence[int]) -> np.ndarray:
    """Each class's activation map in the class's color over the dimmed image.

    Args:
        maps: (K, H, W) in [0, 1]; 1 covers the image.
        classes: (K,) class ids ``0..C-1``.
    """
    canvas = np.rint(draw_image(image) * DIMMED).astype(np.uint8)
    for class_id, values in zip(classes, to_numpy(maps), strict=True):
        canvas = _blend(canvas, class_color(int(class_id)), values.clip(0, 1))
    return canvas


def draw_center_map(image: Array, center: Array) -> np.ndarray:
    """Heat of a center map, (H, W) or (C, H, W) in [0, 1], over the dimmed image."""
    values = np.nan_to_num(to_numpy(center).astype(np.float32))
    if values.ndim == 3:
        values = values.max(axis=0, initial=0)
    values = values.clip(0, 1)
    heat = cv2.applyColorMap(from_unit(values), cv2.COLORMAP_INFERNO)[..., ::-1]
    dimmed = draw_image(image) * DIMMED
    return _blend(dimmed, heat, np.sqrt(values))


def offset_colors(dy: np.ndarray, dx: np.ndarray, longest: float) -> np.ndarray:
    """(..., 3) uint8: the hue is the direction, the saturation the length (white is 0).

    Right is red, down yellow-green, left cyan, up violet; ``longest`` pixels saturate.
    """
    hue = (np.arctan2(dy, dx) / (2 * np.pi)) % 1
    saturation = np.clip(np.hypot(dy, dx) / longest, 0, 1)
    return from_unit(hsv2rgb(np.stack([hue, saturation, np.ones_like(hue)], axis=-1)))


def draw_offsets(
    offset: Array, shown: Array | None = None, *, longest: float | None = None, legend: bool = True
) -> np.ndarray:
    """An offset map as a color wheel.

    Args:
        offset: (2, H, W), (y, x) pixels.
        shown: (H, W) bool, the pixels worth showing; the others are grey. None shows all.
        longest: the length that saturates, in pixels; by default the longest one shown.
        legend: put a small wheel of the directions into the lower right corner.
    """
    dy, dx = np.nan_to_num(to_numpy(offset).astype(np.float64))
    visible = np.ones(dy.shape, dtype=bool) if shown is None else to_numpy(shown).astype(bool)
    if longest is None:
        longest = float(np.hypot(dy, dx)[visible].max(initial=0))
    canvas = offset_colors(dy, dx, longest or 1.0)
    canvas[~visible] = GREY
    radius = round(min(dy.shape) * LEGEND_RADIUS)
    if legend and radius >= LEGEND_SMALLEST:
        _draw_wheel(canvas, radius)
    return canvas


def _draw_wheel(canvas: np.ndarray, radius: int) -> None:
    """The directions' colors in the lower right corner, in place."""
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    distance = np.hypot(dy, dx)
    corner = canvas[-len(dy) - TEXT_MARGIN : -TEXT_MARGIN, -len(dx) - TEXT_MARGIN : -TEXT_MARGIN]
    inside = distance <= radius
    corner[inside] = offset_colors(dy, dx, radius)[inside]
    corner[inside & (distance > radius - 1)] = BLACK


def draw_instances(
    image: Array,
    masks: Array,
    classes: Array | None = None,
    scores: Array | None = None,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Filled, outlined masks, each in its own color; class and score where the mask has room.

    Args:
        masks: (N, H, W) bool.
        classes: (N,) class ids ``0..C-1``; needed for names.
        scores: (N,); the highest lies on top.
        class_names: names in order of the class ids.
    """
    canvas, masks = draw_image(image), to_numpy(masks).astype(bool)
    order = range(len(masks)) if scores is None else np.argsort(to_numpy(scores), kind="stable")
    for number in order:
        color = instance_color(int(number))
        canvas = _blend(canvas, color, MASK_OPACITY * masks[number])
        contours, _ = cv2.findContours(
            masks[number].view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(canvas, contours, -1, color.tolist(), 1)
    writer = _Writer(canvas)
    for number in order:
        words = []
        if classes is not None and class_names is not None:
            words.append(class_names[int(classes[number])])
        if scores is not None:
            words.append(f"{float(scores[number]):.2f}")
        if words:
            writer.write_inside(" ".join(words), masks[number])
    return writer.canvas()


class _Writer:
    """Small text on a picture."""

    def __init__(self, canvas: np.ndarray) -> None:
        self._picture = Image.fromarray(canvas)
        self._draw = ImageDraw.Draw(self._picture)
        self._font = ImageFont.load_default(TEXT_SIZE)

    def write_inside(self, text: str, mask: np.ndarray) -> None:
        """Write in the middle of a (H, W) mask if its bounding box has room for it."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top, right, bottom = self._draw.textbbox((0, 0), text, font=self._font)
        width, height = right - left + 2 * TEXT_MARGIN, bottom - top + 2 * TEXT_MARGIN
        if not len(rows) or np.ptp(rows) < height or np.ptp(columns) < width:
            return
        middle = ((columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2)
        self._draw.text(
            middle,
            text,
            fill=WHITE,
            font=self._font,
            anchor="mm",
            stroke_width=1,
            stroke_fill=BLACK,
        )

    def canvas(self) -> np.ndarray:
        return np.array(self._picture)


def _blend(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of colors over colors, by (H, W) opacities in [0, 1]."""
    share = opacity[..., None]
    return np.rint(below * (1 - share) + above * share).astype(np.uint8)
