"""FiftyOne: the JSON of a data set (``samples.json``), and of image classification or detection
(``labels.json``).

Coordinates are parts of the sides, 0 to 1, x first, from the outer corner; boxes are left, top,
width and height (https://docs.voxel51.com/user_guide/using_datasets.html#keypoints). Keypoints that
are not there are NaN. Labels with a ``confidence`` are a model's, and left out as predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    FRACTIONS,
    POINT,
    POLYGON,
    Document,
    Export,
    Format,
    LabeledImage,
    Shape,
    as_label,
    as_number,
)

LISTS = {  # of a field, by its kind: where its labels stand
    **{"Keypoints": "keypoints", "Detections": "detections", "Polylines": "polylines"},
    "Classifications": "classifications",
}


def claims(document: Document) -> bool:
    content = document.content
    if isinstance(content, Mapping) and "labels" in content and "classes" in content:
        return isinstance(content["labels"], Mapping)
    samples = content.get("samples") if isinstance(content, Mapping) else content
    return (
        isinstance(samples, list)
        and bool(samples)
        and all(isinstance(sample, Mapping) and "filepath" in sample for sample in samples)
    )


def read(document: Document, export: Export) -> None:
    content = document.content
    if isinstance(content, Mapping) and "labels" in content:
        _read_labels(document, export)
        return
    samples = content["samples"] if isinstance(content, Mapping) else content
    for number, sample in enumerate(samples):
        where = f"samples[{number}]"
        name = document.text(sample["filepath"], where, "filepath")
        image = LabeledImage((name,), f"image {name}", per_side=FRACTIONS)
        for label in _labels(document, sample, where):
            if label.get("confidence") not in (None, []):
                export.leave_out("predictions (labels with a confidence)")
            elif label.get("_cls") == "Classification":
                image.tags += filter(None, [as_label(label.get("label"))])
            else:
                image.shapes += _shapes(document, export, label, where)
        export.images.append(image)


def _labels(document: Document, sample: Mapping, where: str) -> Iterator[Mapping]:
    for name, field in sample.items():
        kind = str(field.get("_cls")) if isinstance(field, Mapping) else ""
        if kind in LISTS:
            for label in document.items(field.get(LISTS[kind]), f"{where}, {name}"):
                yield {"_cls": kind.removesuffix("s"), **document.members(label, where)}
        elif kind in ("Keypoint", "Detection", "Polyline", "Classification"):
            yield field


def _shapes(document: Document, export: Export, label: Mapping, where: str) -> list[Shape]:
    name, kind = as_label(label.get("label")), label["_cls"]
    if kind == "Keypoint":
        points = document.items(label.get("points"), f"{where}, 'points'")
        there = [p for p in points if not _is_missing(p)]
        export.leave_out("keypoints that are not there", len(points) - len(there))
        return [Shape(POINT, name, *document.pair(point, where), where) for point in there]
    if kind == "Detection":
        return [_box(document, label.get("bounding_box"), name, where)]
    return [Shape(POLYGON, name)]


def _is_missing(point: object) -> bool:
    first = point[0] if isinstance(point, list) and point else 0
    return first in (None, "NaN") or first != first


def _box(document: Document, box: object, label: str | None, where: str) -> Shape:
    left, top, width, height = document.box(box, where, "bounding_box")
    return Shape(BOX, label, left + width / 2, top + height / 2, where)


def _read_labels(document: Document, export: Export) -> None:
    """``{"classes": [...], "labels": {name: what it is}}``: a class, several, or boxes."""
    classes = document.items(document.content["classes"], "'classes'")
    for name, given in document.content["labels"].items():
        image = LabeledImage((name,), f"image {name}", per_side=FRACTIONS)
        for entry in given if isinstance(given, list) else [given]:
            if isinstance(entry, Mapping) and "bounding_box" in entry:
                label = _class(document, entry.get("label"), classes, name)
                image.shapes.append(_box(document, entry["bounding_box"], label, name))
            else:
                entry = entry.get("label") if isinstance(entry, Mapping) else entry
                image.tags += filter(None, [_class(document, entry, classes, name)])
        export.images.append(image)


def _class(document: Document, given: object, classes: list, where: str) -> str | None:
    number = as_number(given)
    if number is None or isinstance(given, str):
        return as_label(given)
    if number not in range(len(classes)):
        raise document.error(where, f"class {given!r}, expected 0..{len(classes) - 1}")
    return as_label(classes[int(number)])


FIFTYONE = Format("fiftyone", "FiftyOne", claims, read)
