"""VGG Image Annotator (VIA) 1 and 2: JSON (a project or annotations alone) and CSV.

Coordinates are whole pixels: where the mouse was on the picture, by the picture's scale (VIA 2,
``via.js``: ``Math.round(_via_click_x0 * _via_canvas_scale)``), which at full scale is the index of
the pixel. The class is the region attribute that is called so, or the only one; of check boxes the
first that is ticked. File attributes called so are tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    CIRCLE,
    CLASS_KEYS,
    ELLIPSE,
    POINT,
    Document,
    Export,
    Format,
    LabeledImage,
    Shape,
    as_label,
    class_of,
    plain,
)
from bestie_d2.data.labels.coco_json import parse_json
from bestie_d2.data.labels.table_rows import Row

PROJECT = "_via_img_metadata"
COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
KEYS = ("shape_attributes", "region_attributes")  # the same in a JSON
CENTERED = {"point": POINT, "circle": CIRCLE, "ellipse": ELLIPSE}


def claims(document: Document) -> bool:
    content = document.content
    if isinstance(content, Mapping):
        return PROJECT in content or (bool(content) and all(map(_is_entry, content.values())))
    return isinstance(content, list) and bool(content) and _is_heading(content[0])


def _is_entry(value: object) -> bool:
    return isinstance(value, Mapping) and {"filename", "regions"} <= value.keys()


def read(document: Document, export: Export) -> None:
    if isinstance(document.content, Mapping):
        entries = document.members(_entries(document.content), PROJECT)
        for key, entry in entries.items():
            entry = document.members(entry, str(key))
            name = document.text(entry.get("filename"), str(key), "filename")
            regions = entry.get("regions") or []
            if isinstance(regions, Mapping):  # VIA 1
                regions = list(regions.values())
            image = LabeledImage((name,), f"image {name}")
            image.tags = _tags(entry.get("file_attributes"))
            for number, region in enumerate(document.items(regions, f"{name}, 'regions'")):
                where = f"{name}, regions[{number}]"
                region = document.members(region, where)
                _add(document, image, where, *map(region.get, KEYS))
            export.images.append(image)
        return
    images: dict[str, LabeledImage] = {}
    for row in _rows(document.content):
        where = f"line {row['line']}"
        name = document.text(row["filename"], where, "filename")
        image = images.setdefault(name, LabeledImage((name,), f"image {name}"))
        image.tags = _tags(_json(document, row.get("file_attributes"), where))
        shape, attributes = (_json(document, row[key], where) for key in COLUMNS[1:])
        if shape:  # else an image without a region
            _add(document, image, where, shape, attributes)
    export.images += images.values()


def _entries(content: Mapping) -> Mapping:
    return content.get(PROJECT, content)


def _is_heading(row: object) -> bool:
    return isinstance(row, Row) and set(COLUMNS) <= set(_headings(row))


def _headings(row: Row) -> list[str]:
    return [cell.lstrip("#").strip() for cell in row.cells]


def _rows(rows: list[Row]) -> Iterable[dict]:
    names = _headings(rows[0])
    for row in rows[1:]:
        cells = row.cells + [""] * (len(names) - len(row.cells))
        yield {**dict(zip(names, cells, strict=False)), "line": row.number}


def _json(document: Document, cell: object, where: str) -> object:
    try:
        return parse_json(where, str(cell or "{}").encode())
    except ValueError:
        raise document.error(where, f"{cell!r} is not JSON") from None


def _tags(attributes: object) -> list[str]:
    if not isinstance(attributes, Mapping):
        return []
    found: list[str | None] = []
    for key, value in attributes.items():
        if isinstance(value, Mapping):  # check boxes
            found += [as_label(option) for option, ticked in value.items() if ticked]
        elif plain(key) in CLASS_KEYS:
            found.append(as_label(value))
    return [tag for tag in found if tag]


def _add(
    document: Document, image: LabeledImage, where: str, shape: object, attributes: object
) -> None:
    shape = document.members(shape, f"{where}, shape attributes")
    label = class_of(document.members(attributes or {}, f"{where}, region attributes"))
    kind = str(shape.get("name"))
    if kind in CENTERED:
        x, y = (document.number(shape.get(key), where, key) for key in ("cx", "cy"))
        image.shapes.append(Shape(CENTERED[kind], label, x, y))
    elif kind == "rect":
        sides = [shape.get(key) for key in ("x", "y", "width", "height")]
        x, y, width, height = document.box(sides, where, kind)
        image.shapes.append(Shape(BOX, label, x + width / 2, y + height / 2))
    else:
        image.shapes.append(Shape(kind, label))


VIA = Format("via", "VGG Image Annotator", claims, read)
