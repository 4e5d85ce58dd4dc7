"""The segmentation labels that Ultralytics' YOLO is trained with.

Definition: https://docs.ultralytics.com/datasets/segment/: a line an object, the class from 0 and
a polygon of x and y as shares of the picture's width and height. How it is filled: whole pixels by
``cv2.fillPoly``, which takes the border in (``ultralytics/data/utils.py``, ``polygon2mask``), in a
training after 1,000 points are put along it, as many on each edge (``utils/ops.py``,
``resample_segments``).
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import yaml

from bestie_d2.data.names import without_suffix
from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.outlines import inset, join_holes, join_parts, trace_parts
from bestie_d2.writers.writer import Writer

logger = logging.getLogger(__name__)

DECIMALS = 7  # 0.001 pixels in a picture of 10,000
LONGEST_EDGE = 2.0  # pixels: of longer ones, the resampling would cut the corners


class YoloWriter(Writer):
    """``yolo/labels/<name>.txt`` and ``yolo/data.yaml``; pictures belong into ``yolo/images``.

    A slit leads to each hole, and parts are joined by a line one pixel wide to the nearest one, as
    Ultralytics' own converter does, so that an object stays one object. Scores have no place in
    labels, nor has an object's number.
    """

    format_name = "yolo"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        kept = [name for name, written in self._names.items() if written != without_suffix(name)]
        if kept:
            logger.warning(
                f"yolo: {len(kept)} pictures share their name but for the suffix (first {kept[0]}):"
                f" their labels are called {self._names[kept[0]]}.txt and so on, which Ultralytics "
                "does not look for; rename the pictures"
            )

    def write(self, image: LabeledImage) -> None:
        with replacing(self.path_of(image, ".txt", "yolo/labels")) as file:
            for found in image.objects:
                shares = _polygon(found) / (image.width, image.height)
                numbers = (f"{share:.{DECIMALS}f}" for share in shares.ravel())
                file.write(f"{found.class_id} {' '.join(numbers)}\n")

    def close(self) -> None:
        names = dict(enumerate(self.class_names))
        content = {"path": ".", "train": "images", "val": "images", "names": names}
        folder = self.output / self.format_name
        folder.mkdir(exist_ok=True)
        with replacing(folder / "data.yaml") as file:
            yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True)
        super().close()


def _polygon(found: ObjectMask) -> np.ndarray:
    """(P, 2) x and y in pixels."""
    parts = trace_parts(found.mask, found.top_left)
    points = join_parts([inset(join_holes(part)) for part in parts])
    edges = np.roll(points, -1, axis=0) - points
    pieces = np.ceil(np.abs(edges).max(axis=1) / LONGEST_EDGE).astype(int)
    cut = zip(points, edges, pieces.tolist(), strict=True)
    return np.concatenate([start + edge * np.arange(n)[:, None] / n for start, edge, n in cut])
