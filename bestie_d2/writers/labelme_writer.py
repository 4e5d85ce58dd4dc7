"""LabelMe's JSON, a file an image.

Definition: ``labelme/_label_file.py`` (which keys, their types) and ``_utils/_shape.py`` (points of
one ``group_id`` are one object; Pillow fills polygons, border included, at whole pixels) in
https://github.com/wkentaro/labelme. Points are x and y in pixels.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.outlines import inset, join_holes, trace_parts
from bestie_d2.writers.writer import Writer, rounded

VERSION = "5.0.0"  # polygons have been written like this since then
DECIMALS = 1  # those of the inset


class LabelMeWriter(Writer):
    """``labelme/<name>.json``; the picture stays where it is and is referred to.

    A polygon a part, those of an object in one group; a slit leads to each hole. LabelMe keeps the
    ``score`` of a shape when it saves the file.
    """

    format_name = "labelme"

    def write(self, image: LabeledImage) -> None:
        path = self.path_of(image, ".json")
        shapes = [
            shape
            for number, found in enumerate(image.objects, start=1)
            for shape in self._shapes(found, number)
        ]
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": path_from(path.parent, image.image_path),
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        with replacing(path) as file:
            json.dump(content, file, ensure_ascii=False)

    def _shapes(self, found: ObjectMask, number: int) -> list[dict]:
        parts = trace_parts(found.mask, found.top_left)
        return [
            {
                "label": self.class_names[found.class_id],
                "points": inset(join_holes(part)).round(DECIMALS).tolist(),
                "group_id": number if len(parts) > 1 else None,
                "shape_type": "polygon",
                "flags": {},
                "description": "",
                "score": rounded(found.score),
            }
            for part in parts
        ]


def path_from(folder: Path, path: str) -> str:
    """A path relative to a folder, ``/`` between folders; absolute from another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return Path(path).absolute().as_posix()
