"""COCO: keypoints as points, or the centers of boxes.

Keypoints are indices of pixels (https://cocodataset.org/#format-data: "0-indexed"; Detectron2 adds
0.5 to them where it wants distances from the corner), and count where their visibility is above 0.
Of a category with several named keypoints, an object's are its parts: the one that is nearest to
their mean stands for it. Without names each is an object of its own, as where an annotator clicked
several in one. Boxes are left, top, width and height from the outer corner.
"""

from __future__ import annotations

from collections.abc import Mapping

from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    CORNER,
    POINT,
    POLYGON,
    Document,
    Export,
    Format,
    LabeledImage,
    Shape,
)
from bestie_d2.data.labels.coco_json import (
    IMAGE_LISTS,
    crowd_value,
    passed_over_categories,
    regular_lists,
    unknown_id,
)

LISTS = {**IMAGE_LISTS, "annotations": ("image_id", "category_id")}


def claims(document: Document) -> bool:
    content = document.content
    if not isinstance(content, Mapping) or "annotations" not in content:
        return False
    return any(name in content for name in IMAGE_LISTS)  # without the other one it is refused


def read(document: Document, export: Export) -> None:
    data = regular_lists(document.path, document.content, LISTS)
    passed_over = passed_over_categories(data)
    kept = [c for c in data["categories"] if c not in passed_over]
    for category in kept:
        if not isinstance(category["id"], (int, float, str)):
            raise document.error("'categories'", f"the id of {category['name']!r} is no number")
    categories = {category["id"]: category for category in sorted(kept, key=_id_order)}
    for category in categories.values():
        export.declared.setdefault(category["name"], "")
    images = {
        image["id"]: LabeledImage(
            (image["file_name"],),
            f"image {image['file_name']}",
            document.size(image, f"image {image['file_name']}"),
        )
        for image in data["images"]
    }
    parts = 0
    for number, entry in enumerate(data["annotations"]):
        where = f"annotations[{number}]" + (f" (id {entry['id']})" if "id" in entry else "")
        problem = unknown_id(entry, images, categories)
        if problem:
            raise document.error(where, problem)
        if crowd_value(entry):
            export.leave_out("crowd regions (iscrowd)")
            continue
        category = categories[entry["category_id"]]
        shapes = _shapes(document, entry, where, category["name"])
        if len(shapes) > 1 and len(category.get("keypoints") or ()) > 1:
            shapes, parts = [_middle(shapes)], parts + 1
        images[entry["image_id"]].shapes += shapes
    export.images += images.values()
    if parts:
        export.remarks.append(
            f"{parts} objects have several keypoints, their parts: the one in their middle is taken"
        )


def _id_order(category: Mapping) -> tuple[bool, object]:
    """Numbers before texts."""
    return isinstance(category["id"], str), category["id"]


def _shapes(document: Document, entry: Mapping, where: str, label: str) -> list[Shape]:
    keypoints = document.items(entry.get("keypoints"), f"{where}, 'keypoints'")
    if len(keypoints) % 3:
        raise document.error(where, f"'keypoints' are {len(keypoints)} numbers, not x, y, v each")
    numbers = [document.number(value, where, "keypoints") for value in keypoints]
    triples = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    found = [Shape(POINT, label, x, y) for x, y, visibility in triples if visibility > 0]
    if found or not entry.get("bbox"):
        return found or [Shape(POLYGON, label)]
    left, top, width, height = document.box(entry["bbox"], where, "bbox")
    return [Shape(BOX, label, left + width / 2 - CORNER, top + height / 2 - CORNER)]


def _middle(shapes: list[Shape]) -> Shape:
    x, y = (sum(axis) / len(shapes) for axis in zip(*((s.x, s.y) for s in shapes), strict=True))
    return min(shapes, key=lambda shape: (shape.x - x) ** 2 + (shape.y - y) ** 2)


COCO = Format("coco", "COCO", claims, read)
