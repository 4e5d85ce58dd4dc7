"""ImageJ: files of the Cell Counter plugin (XML), and point selections (``.roi``, ``RoiSet.zip``).

Both are counted from the center of the first pixel: Cell Counter stores the index of the pixel that
was clicked (``CellCntrImageCanvas``: ``offScreenX``), and the coordinates of point selections are
"with respect to the pixel center" (``ij.gui.Roi.useLineSubpixelConvention``). A marker file names
its image; selections belong to the image that their file or archive is called like. The class of a
marker is its type's name; of a selection, a name of its own in the ROI Manager, else its group or
counter. Selections are read by the package ``roifile``.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    ELLIPSE,
    POINT,
    Document,
    Export,
    Format,
    Shape,
    as_label,
    is_root,
)
from bestie_d2.errors import InputError

MARKERS = "CellCounter_Marker_File"
SIGNATURE = b"Iout"  # of a selection
OWN_NAME = re.compile(r"[0-9]{4}(-[0-9]{4})+(-[0-9]+)?")  # that ImageJ gives
AGAIN = re.compile(r"-[0-9]+$")  # of a name that another selection has


def claims(document: Document) -> bool:
    content = document.content
    if isinstance(content, bytes):
        return content.startswith(SIGNATURE)
    return is_root(content, MARKERS)


def read(document: Document, export: Export) -> None:
    if isinstance(document.content, bytes):
        _read_selection(document, export)
        return
    root = document.content
    image = document.image()
    named = as_label(root.findtext("Image_Properties/Image_Filename"))
    if named:
        image.names, image.where = (named, *image.names), f"image {named}"
    for number, kind in enumerate(root.iterfind("Marker_Data/Marker_Type")):
        label = as_label(kind.findtext("Name")) or f"Type {kind.findtext('Type', str(number + 1))}"
        for marker in kind.iterfind("Marker"):
            where = f"a marker of {label}"
            x, y = (document.number(marker.findtext(k), where, k) for k in ("MarkerX", "MarkerY"))
            image.shapes.append(Shape(POINT, label, x, y))
    export.images.append(image)


def _read_selection(document: Document, export: Export) -> None:
    try:
        from roifile import ROI_TYPE, ImagejRoi
    except ImportError:
        raise InputError(
            f"{document.path}: reading ImageJ's selections needs a package: pip install roifile"
        ) from None
    try:
        roi = ImagejRoi.frombytes(document.content)
        coordinates = np.asarray(roi.coordinates()).tolist()
    except Exception as error:  # of any kind, in bytes that are none of a selection
        raise InputError(f"{document.path}: not a selection of ImageJ ({error})") from None
    new = document.image()
    image = next((i for i in export.images if i.names == new.names), new)
    if image is new:
        export.images.append(image)
    if roi.roitype == ROI_TYPE.POINT:
        labels = _labels(document, roi, len(coordinates))
        pairs = zip(labels, coordinates, strict=True)
        image.shapes += [Shape(POINT, label, x, y) for label, (x, y) in pairs]
    elif roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL):  # from outer corner to outer corner
        x, y = (roi.left + roi.right - 1) / 2, (roi.top + roi.bottom - 1) / 2
        kind = BOX if roi.roitype == ROI_TYPE.RECT else ELLIPSE
        image.shapes.append(Shape(kind, _labels(document, roi, 1)[0], x, y))
    else:
        image.shapes.append(Shape(roi.roitype.name.lower(), _labels(document, roi, 1)[0]))


def _labels(document: Document, roi: Any, count: int) -> list[str | None]:
    name = as_label(AGAIN.sub("", roi.name or "")) if document.group else None
    if name and not OWN_NAME.fullmatch(roi.name):
        return [name] * count
    if roi.counters is not None and len(roi.counters) == count and roi.counters.any():
        return [f"counter {number}" for number in roi.counters.tolist()]
    return [f"group {roi.group}" if roi.group else None] * count


IMAGEJ = Format("imagej", "ImageJ (Cell Counter, selections)", claims, read)
