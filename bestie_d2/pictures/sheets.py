"""Pictures side by side: a row for each image, a titled column for each thing known of it.

Small images are enlarged before anything is drawn, so that dots, outlines and text are legible.
Their sizes differ and columns have titles, neither of which torchvision's ``make_grid`` knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bestie_d2.pictures import overlays
from bestie_d2.pictures.overlays import Array, MaskSet
from bestie_d2.structures import PointCues

GAP, TITLE_HEIGHT = 8, 34  # pixels
TITLE_SIZES, LETTER = (9, 22), 0.55  # of the font in pixels; a letter's width to its height
ROWS_A_SHEET = 3
COLUMNS = ("image", "weak map", "activations", "cues", "center map", "offsets")  # then instances


@dataclass
class Layers:
    """Everything known of one image, in its pixels; None for what is not.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        weak_map: (H, W) WSSS indices.
        activations, tags: (K, H, W) in [0, 1], of the classes (K,) ``0..C-1``.
        center, offset: (C, H, W) in [0, 1]; (2, H, W), shown where there are predicted instances,
            or else on the weak foreground.
        instances: by the title of their column.
    """

    image: np.ndarray
    weak_map: Array | None = None
    activations: Array | None = None
    tags: Sequence[int] = ()
    cues: PointCues | None = None
    center: Array | None = None
    offset: Array | None = None
    instances: dict[str, MaskSet] = field(default_factory=dict)

    def visible_offsets(self) -> np.ndarray | None:
        """(H, W) bool where offsets mean something."""
        predicted = self.instances.get("prediction")
        if predicted is not None and len(predicted.masks):
            return np.asarray(predicted.masks, bool).max(axis=0)
        return None if self.weak_map is None else np.asarray(self.weak_map) > 0


def draw_layers(
    layers: Layers,
    class_names: Sequence[str] | None = None,
    *,
    side: int = 384,
    largest: int = 512,
    cue_radius: float = overlays.CUE_RADIUS,
) -> dict[str, np.ndarray]:
    """A picture of each thing known of an image, by title.

    Args:
        class_names: written into instances.
        side: by a whole factor, the longer side of an image is enlarged to about so many pixels.
        largest: finished pictures are shrunk to this longer side.
        cue_radius: a share of the shorter side.
    """
    image = overlays.brighten(layers.image)
    factor = max(1, round(side / max(image.shape[:2])))
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)

    def enlarged(maps: Array) -> np.ndarray:
        return np.asarray(maps).repeat(factor, axis=-2).repeat(factor, axis=-1)

    pictures = {"image": image}
    if layers.weak_map is not None:
        pictures["weak map"] = overlays.draw_weak_map(image, enlarged(layers.weak_map))
    if layers.activations is not None:
        maps = enlarged(layers.activations)
        pictures["activations"] = overlays.draw_activations(image, maps, layers.tags)
    if layers.cues is not None:
        yx = layers.cues.yx * factor + (factor - 1) / 2  # an index is a pixel's middle
        cues = PointCues(yx, layers.cues.classes, layers.cues.scores)
        pictures["cues"] = overlays.draw_cues(image, cues, cue_radius)
    if layers.center is not None:
        pictures["center map"] = overlays.draw_center_map(image, enlarged(layers.center))
    if layers.offset is not None:
        shown = layers.visible_offsets()
        shown = None if shown is None else enlarged(shown)
        pictures["offsets"] = overlays.draw_offsets(enlarged(layers.offset), shown)
    for title, found in layers.instances.items():
        below = None if found.foreground is None else enlarged(found.foreground)
        large = replace(found, masks=enlarged(found.masks), foreground=below)
        pictures[title] = overlays.draw_instances(image, large, class_names)
    for title, pixels in pictures.items():
        picture = Image.fromarray(pixels)
        picture.thumbnail((largest, largest), Image.Resampling.BOX)
        pictures[title] = np.array(picture)
    return pictures


def contact_sheet(
    rows: Sequence[dict[str, np.ndarray]], legend: Mapping[str, overlays.Color] | None = None
) -> np.ndarray:
    """Rows of pictures by title, (h, w, 3) uint8 RGB of any sizes, on white; a column for each
    title that any row has; a line below says what the colors of a legend are. Returns (H, W, 3)
    uint8 RGB."""
    found = dict.fromkeys([*COLUMNS, *(title for row in rows for title in row)])
    titles = [title for title in found if any(title in row for row in rows)]
    widths = [max(row[title].shape[1] for row in rows if title in row) for title in titles]
    heights = [max(picture.shape[0] for picture in row.values()) for row in rows]
    lefts = np.cumsum([GAP, *(width + GAP for width in widths)]).tolist()
    tops = np.cumsum([TITLE_HEIGHT, *(height + GAP for height in heights)]).tolist()
    bottom = tops[-1] + (TITLE_HEIGHT if legend else 0)
    sheet = Image.new("RGB", (lefts[-1], bottom), "white")
    if legend:
        _write_legend(ImageDraw.Draw(sheet), legend, bottom - TITLE_HEIGHT // 2)
    for title, left, width in zip(titles, lefts, widths, strict=False):
        size = float(np.clip(width / (len(title) * LETTER), *TITLE_SIZES))
        middle, font = (left + width / 2, TITLE_HEIGHT / 2), ImageFont.load_default(size)
        ImageDraw.Draw(sheet).text(middle, title, overlays.BLACK, font, "mm")
        for row, top in zip(rows, tops, strict=False):
            if title in row:
                sheet.paste(Image.fromarray(row[title]), (left, top))
    return np.array(sheet)


def _write_legend(pen: ImageDraw.ImageDraw, legend: Mapping[str, overlays.Color], y: int) -> None:
    x, font = float(GAP), ImageFont.load_default(overlays.TEXT_SIZE)
    for name, color in legend.items():
        pen.rectangle((x, y - GAP, x + 2 * GAP, y + GAP), color)
        pen.text((x + 3 * GAP, y), name, overlays.BLACK, font, "lm")
        x += 5 * GAP + font.getlength(name)


def write_sheets(
    samples: Sequence[Layers], class_names: Sequence[str], prefix: str | Path
) -> list[Path]:
    """Draw a few images a sheet into ``<prefix>_1.png`` and on; returns the files. Where instances
    are marked with their kinds, a legend is below."""
    sets = [found for layers in samples for found in layers.instances.values()]
    legend = overlays.KIND_COLORS if any(found.kinds is not None for found in sets) else None
    files = []
    for start in range(0, len(samples), ROWS_A_SHEET):
        rows = [draw_layers(layers, class_names) for layers in samples[start:][:ROWS_A_SHEET]]
        files.append(Path(f"{prefix}_{start // ROWS_A_SHEET + 1}.png"))
        Image.fromarray(contact_sheet(rows, legend)).save(files[-1])
    return files
