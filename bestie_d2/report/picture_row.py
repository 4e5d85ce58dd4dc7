"""A row of the image grid: what was made of one image, stage by stage, as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from bestie_d2.data.names import relative_name
from bestie_d2.pictures.sheets import Layers, draw_layers
from bestie_d2.report.page import picture, picture_row
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

PICTURE_SIDE = 256  # pixels of the longer side, about
CUE_RADIUS = 1 / 36  # of the shorter side: these pictures are shown small


def row_of_pictures(record: dict, layers: Layers, class_names: Sequence[str]) -> str:
    """The pictures of one image, and what classes each shows."""
    shown = {title: found.classes for title, found in layers.instances.items()}
    if layers.cues is not None:
        shown["cues"] = layers.cues.classes
    if layers.weak_map is not None:
        indices = np.unique(layers.weak_map)
        shown["weak map"] = indices[(indices != BACKGROUND_INDEX) & (indices != IGNORE_INDEX)] - 1
    drawn = draw_layers(layers, side=PICTURE_SIDE, largest=PICTURE_SIDE, cue_radius=CUE_RADIUS)
    parts = []
    for title, pixels in drawn.items():
        content = _content(shown[title], class_names) if title in shown else ""
        alternative = f"{title} of {relative_name(record)}" + (f": {content}" if content else "")
        parts.append(picture(pixels, title, content, alternative=alternative))
    return picture_row(relative_name(record), parts)


def _content(classes: Iterable, class_names: Sequence[str]) -> str:
    """Names and numbers, such as ``bug, 2 fish``."""
    counts = Counter(class_names[int(class_id)] for class_id in classes)
    words = (name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items()))
    return ", ".join(words) or "nothing"
