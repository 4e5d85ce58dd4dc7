"""LabelMe: a folder of JSON files, one an image.

Coordinates are pixels from the outer corner of the picture as LabelMe shows it, its EXIF turn done
(wkentaro/labelme, ``_label_file.py``: ``apply_exif_orientation``; the canvas draws the picture's
corner at its origin). A circle is its center and a point of its edge. ``flags`` that are set are
tags of the image. Files of before 2018 have no ``shape_type``.
"""

from __future__ import annotations

from collections.abc import Mapping

from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    CIRCLE,
    CORNER,
    POINT,
    POLYGON,
    Document,
    Export,
    Format,
    LabeledImage,
    Shape,
    as_label,
)
from bestie_d2.data.names import stem_of


def claims(document: Document) -> bool:
    content = document.content
    return (
        isinstance(content, Mapping)
        and isinstance(content.get("shapes"), list)
        and any(key in content for key in ("imagePath", "imageData", "version", "flags"))
    )


def read(document: Document, export: Export) -> None:
    content = document.content
    path = content.get("imagePath")
    names = [path] if isinstance(path, str) and path else []
    where = names[0] if names else document.name
    size = document.size(content, where, "imageHeight", "imageWidth")
    image = LabeledImage((*names, stem_of(document.name)), where, size)
    flags = content.get("flags")
    if isinstance(flags, Mapping):
        image.tags = [name for name, is_set in flags.items() if is_set is True]
    for number, shape in enumerate(content["shapes"]):
        where = f"shapes[{number}]"
        image.shapes += _shapes(document, document.members(shape, where), where)
    export.images.append(image)


def _shapes(document: Document, shape: Mapping, where: str) -> list[Shape]:
    label = as_label(shape.get("label"))
    points = [document.pair(pair, where) for pair in document.items(shape.get("points"), where)]
    kind = shape.get("shape_type") or (POINT if len(points) == 1 else POLYGON)
    if not points:
        raise document.error(where, "'points' is empty")
    if kind in (POINT, "points"):
        return [Shape(POINT, label, x - CORNER, y - CORNER) for x, y in points]
    if kind not in ("rectangle", CIRCLE):
        return [Shape(str(kind), label)]
    used = points if kind == "rectangle" else points[:1]
    x, y = (sum(axis) / len(used) - CORNER for axis in zip(*used, strict=True))
    return [Shape(BOX if kind == "rectangle" else CIRCLE, label, x, y)]


LABELME = Format("labelme", "LabelMe", claims, read)
