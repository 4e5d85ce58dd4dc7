"""A row of the image grid: what was made of one image, stage by stage, as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bestie_d2.data import ImageReader
from bestie_d2.data.names import relative_name
from bestie_d2.pictures.drawing import draw_cues, draw_instances, draw_weak_map, to_numpy
from bestie_d2.pictures.sheets import Enlarged, MaskSet, shrink
from bestie_d2.report.page import picture, picture_row
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, PointCues

PICTURE_SIDE = 256  # pixels of the longer side, about
CUE_RADIUS = 1 / 36  # of the shorter side: these pictures are shown small


class PictureRow:
    """The pictures of one image, in the order in which they are added."""

    def __init__(self, record: dict, class_names: Sequence[str], reader: ImageReader) -> None:
        self._name = relative_name(record)
        self._class_names = class_names
        self._large = Enlarged(reader.read(record["file_name"]), PICTURE_SIDE)
        self._pictures: list[str] = []
        self._add("input", self._large.image, "")

    def _add(self, title: str, pixels: np.ndarray, content: str) -> None:
        pixels = shrink(pixels, PICTURE_SIDE)
        alternative = f"{title} of {self._name}" + (f": {content}" if content else "")
        self._pictures.append(picture(pixels, title, content, alternative=alternative))

    def add_cues(self, cues: PointCues | None) -> None:
        if cues is not None:
            drawn = draw_cues(self._large.image, self._large.cues(cues), radius=CUE_RADIUS)
            self._add("cues", drawn, self._content(cues.classes))

    def add_weak_map(self, index_map: np.ndarray | None) -> None:
        if index_map is not None:
            drawn = draw_weak_map(self._large.image, self._large.maps(index_map))
            indices = np.unique(index_map)
            known = indices[(indices != BACKGROUND_INDEX) & (indices != IGNORE_INDEX)]
            self._add("weak map", drawn, self._content(known - 1))

    def add_instances(
        self, title: str, found: MaskSet | None, index_map: np.ndarray | None = None
    ) -> None:
        """Add masks.

        Args:
            index_map: (H, W) WSSS indices; what of the foreground is in no mask is shown grey.
        """
        if found is None:
            return
        below = self._large.image
        if index_map is not None:
            left = np.where(index_map == BACKGROUND_INDEX, BACKGROUND_INDEX, IGNORE_INDEX)
            left[to_numpy(found.masks).any(axis=0)] = BACKGROUND_INDEX
            below = draw_weak_map(below, self._large.maps(left))
        drawn = draw_instances(below, self._large.maps(_surest_last(found)))
        self._add(title, drawn, self._content(found.classes))

    def _content(self, classes: Sequence[int]) -> str:
        """Names and numbers, such as ``bug, 2 fish``."""
        counts = Counter(self._class_names[int(class_id)] for class_id in classes)
        words = (name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items()))
        return ", ".join(words) or "nothing"

    def html(self) -> str:
        return picture_row(self._name, self._pictures)


def _surest_last(found: MaskSet) -> np.ndarray:
    """The masks, with the highest score on top of the others when drawn."""
    masks = to_numpy(found.masks)
    if found.scores is None:
        return masks
    return masks[np.argsort(to_numpy(found.scores), kind="stable")]
