"""Pictures side by side: one row an image, one titled column for each thing shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bestie_d2.pictures.colors import BLACK
from bestie_d2.pictures.drawing import (
    Array,
    brighten,
    draw_activations,
    draw_center_map,
    draw_cues,
    draw_image,
    draw_instances,
    draw_offsets,
    draw_weak_map,
    to_numpy,
)
from bestie_d2.structures import PointCues

GAP = 8  # pixels between pictures
TITLE_SIZE = 22  # pixels
SMALLEST_TITLE = 9  # pixels
TITLE_HEIGHT = 34  # pixels
COMFORTABLE_SIDE = 384  # pixels; images are enlarged to about this
LARGEST_SIDE = 512  # pixels; finished pictures are shrunk to it
COLUMNS = (
    "image", "weak map", "activations", "cues", "center map", "offsets", "prediction", "truth"
)  # fmt: skip


@dataclass
class MaskSet:
    """Instances to draw: masks (N, H, W) bool, classes (N,) 0..C-1, scores (N,) or None."""

    masks: Array
    classes: Array
    scores: Array | None = None


@dataclass
class SheetSample:
    """Everything known of one image, in its pixels; None for what is not.

    Attributes:
        image: as ``draw_image`` takes it.
        weak_map: (H, W) WSSS indices.
        activations: (K, H, W) in [0, 1], of the classes ``tags``.
        tags: (K,) class ids ``0..C-1``.
        cues: (y, x) points.
        center: (C, H, W) in [0, 1].
        offset: (2, H, W); shown on the predicted instances, or else on the weak foreground.
        prediction, truth: instances.
    """

    image: Array
    weak_map: Array | None = None
    activations: Array | None = None
    tags: Sequence[int] = ()
    cues: PointCues | None = None
    center: Array | None = None
    offset: Array | None = None
    prediction: MaskSet | None = None
    truth: MaskSet | None = None


def contact_sheet(rows: Sequence[Sequence[np.ndarray | None]], titles: Sequence[str]) -> np.ndarray:
    """Pictures in rows under the titles of their columns, on white.

    Args:
        rows: (h, w, 3) uint8 RGB pictures of any sizes; None leaves a place empty.
        titles: one for each column.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    widths = [
        max((row[column].shape[1] for row in rows if row[column] is not None), default=0)
        for column in range(len(titles))
    ]
    font = ImageFont.load_default(TITLE_SIZE)
    if not any(widths):
        widths = [round(font.getlength(title)) for title in titles]
    heights = [max((p.shape[0] for p in row if p is not None), default=0) for row in rows]
    lefts = np.cumsum([GAP, *(width + GAP for width in widths)])
    tops = np.cumsum([TITLE_HEIGHT, *(height + GAP for height in heights)])
    sheet = Image.new("RGB", (int(lefts[-1]), int(tops[-1])), "white")
    draw = ImageDraw.Draw(sheet)
    for left, width, title in zip(lefts, widths, titles, strict=False):
        draw.text(
            (left + width / 2, TITLE_HEIGHT / 2), title, BLACK, _fitting(title, width), anchor="mm"
        )
    for top, row in zip(tops, rows, strict=False):
        for left, picture in zip(lefts, row, strict=False):
            if picture is not None:
                sheet.paste(Image.fromarray(picture), (int(left), int(top)))
    return np.array(sheet)


def _fitting(title: str, width: int) -> ImageFont.FreeTypeFont:
    """The largest font in which a title is no wider than its column."""
    for size in range(TITLE_SIZE, SMALLEST_TITLE, -1):
        font = ImageFont.load_default(size)
        if font.getlength(title) <= width:
            return font
    return ImageFont.load_default(SMALLEST_TITLE)


def draw_prediction_sheet(
    samples: Sequence[SheetSample], class_names: Sequence[str] | None = None
) -> np.ndarray:
    """A row for each sample; its columns are those of ``COLUMNS``.

    Columns that no sample has anything for are left out. Small images are enlarged by a whole
    factor first, so that dots, outlines and text are legible.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    drawn = [_draw_sample(sample, class_names) for sample in samples]
    titles = [title for title in COLUMNS if any(title in pictures for pictures in drawn)]
    return contact_sheet([[p.get(title) for title in titles] for p in drawn], titles)


def _draw_sample(sample: SheetSample, class_names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Pictures by column."""
    large = Enlarged(sample.image)
    pictures = {"image": large.image}
    if sample.weak_map is not None:
        pictures["weak map"] = draw_weak_map(large.image, large.maps(sample.weak_map))
    if sample.activations is not None:
        maps = large.maps(sample.activations)
        pictures["activations"] = draw_activations(large.image, maps, sample.tags)
    if sample.cues is not None:
        pictures["cues"] = draw_cues(large.image, large.cues(sample.cues))
    if sample.center is not None:
        pictures["center map"] = draw_center_map(large.image, large.maps(sample.center))
    if sample.offset is not None:
        shown = _foreground(sample)
        pictures["offsets"] = draw_offsets(
            large.maps(sample.offset), None if shown is None else large.maps(shown)
        )
    for title in ("prediction", "truth"):
        found: MaskSet | None = getattr(sample, title)
        if found is not None:
            masks = large.maps(found.masks)
            pictures[title] = draw_instances(
                large.image, masks, found.classes, found.scores, class_names
            )
    return {title: shrink(picture) for title, picture in pictures.items()}


def _foreground(sample: SheetSample) -> np.ndarray | None:
    """(H, W) bool where offsets mean something."""
    if sample.prediction is not None and len(sample.prediction.masks):
        return to_numpy(sample.prediction.masks).astype(bool).any(axis=0)
    if sample.weak_map is not None:
        return to_numpy(sample.weak_map) > 0
    return None


class Enlarged:
    """A small image, and what is known of it, with every pixel a whole number of pixels wide and
    high, so that dots, outlines and text on it are legible.

    Attributes:
        image: (h, w, 3) uint8 RGB to draw on.
    """

    def __init__(self, image: Array, side: int = COMFORTABLE_SIDE) -> None:
        """
        Args:
            image: as ``draw_image`` takes it.
            side: what its longer side gets near to, in pixels; a larger image stays as it is.
        """
        picture = brighten(draw_image(image))
        self._factor = max(1, round(side / max(picture.shape[:2])))
        self.image = np.ascontiguousarray(self.maps(picture.transpose(2, 0, 1)).transpose(1, 2, 0))

    def maps(self, maps: Array) -> np.ndarray:
        """(..., H, W) maps or masks of the image as (..., h, w)."""
        return to_numpy(maps).repeat(self._factor, axis=-2).repeat(self._factor, axis=-1)

    def cues(self, cues: PointCues) -> PointCues:
        """Cues in pixels of the image, in those of the enlarged one."""
        middle = (self._factor - 1) / 2  # an index is a pixel's middle
        return PointCues(cues.yx * self._factor + middle, cues.classes, cues.scores)


def shrink(picture: np.ndarray, side: int = LARGEST_SIDE) -> np.ndarray:
    """An (h, w, 3) picture, smaller if one of its sides is longer than so many pixels."""
    height, width = picture.shape[:2]
    share = side / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
