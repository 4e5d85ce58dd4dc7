"""CVAT for images 1.1: ``annotations.xml``, alone or in the ZIP that CVAT makes.

Coordinates are pixels from the outer corner of the picture, whose ``width`` and ``height`` an image
states as CVAT shows it, its EXIF turn done; ``points`` may hold several, ``x,y;x,y``, each a click
of its own; boxes turn about their center (https://docs.cvat.ai/docs/other/xml_format/).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    CORNER,
    ELLIPSE,
    POINT,
    Document,
    Export,
    Format,
    LabeledImage,
    Shape,
    as_label,
    is_root,
)

CORNERS = ("xtl", "ytl", "xbr", "ybr")
OTHERS = ("polygon", "polyline", "mask", "cuboid", "skeleton")


def claims(document: Document) -> bool:
    root = document.content
    return is_root(root, "annotations") and any(
        root.find(tag) is not None for tag in ("image", "track", "meta")
    )


def read(document: Document, export: Export) -> None:
    root = document.content
    if root.find("image") is None and root.find("track") is not None:
        raise document.error("track", "is of a video: export it as 'CVAT for images 1.1'")
    declared: set[str] = set()
    for label in root.iterfind("meta//labels/label"):
        name = as_label(label.findtext("name"))
        if name and not label.findtext("parent"):  # else a part of a skeleton
            declared.add(name)
            export.declared.setdefault(name, (label.findtext("type") or "").strip())
    for number, element in enumerate(root.iterfind("image")):
        where = f"image {element.get('name', number)}"
        name = document.text(element.get("name"), where, "name")
        image = LabeledImage((name,), where, document.size(element, where))
        for child in element:
            label = as_label(child.get("label"))
            if child.tag == "tag" and label:
                image.tags.append(label)
            elif child.tag in ("points", "box", "ellipse"):
                image.shapes += _shapes(document, child, f"{where}, {child.tag}", label)
            elif child.tag in OTHERS:
                image.shapes.append(Shape(child.tag, label))
        export.images.append(image)
    # A task has no other labels, but not everything that writes the format lists them all.
    used = filter(None, (as_label(drawn.get("label")) for drawn in root.iterfind("image/*")))
    others = [name for name in dict.fromkeys(used) if declared and name not in declared]
    if others:
        export.remarks.append(
            f"labels that its <meta> does not declare: {', '.join(others)}; they come last"
        )


def _shapes(document: Document, element: Element, where: str, label: str | None) -> list[Shape]:
    if element.tag == "points":
        written = document.text(element.get("points"), where, "points")
        pairs = [pair.split(",") for pair in written.strip("; \n").split(";")]
        return [Shape(POINT, label, *_shifted(document.pair(pair, where))) for pair in pairs]
    if element.tag == "ellipse":
        x, y = (document.number(element.get(key), where, key) for key in ("cx", "cy"))
        return [Shape(ELLIPSE, label, x - CORNER, y - CORNER)]
    left, top, right, bottom = (document.number(element.get(k), where, k) for k in CORNERS)
    return [Shape(BOX, label, *_shifted(((left + right) / 2, (top + bottom) / 2)))]


def _shifted(xy: tuple[float, float]) -> tuple[float, float]:
    return xy[0] - CORNER, xy[1] - CORNER


CVAT = Format("cvat", "CVAT for images 1.1", claims, read)
