"""Readers of image tags, and with them of a data set's images and classes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from bestie_d2.data.readers import IMAGE_LISTS, category_indices, load_json
from bestie_d2.errors import InputError

CSV_HEADER = "file_name"


@dataclass(frozen=True)
class TaggedImages:
    """The images of a data set with their tags.

    Attributes:
        records: a dict an image: ``file_name`` as the file has it, ``image_id``, ``image_classes``
            (sorted contiguous class ids), and ``height``, ``width`` where the file states them.
        classes: class names in contiguous order.
        category_ids: the data set's own id of each class.
    """

    records: list[dict]
    classes: list[str]
    category_ids: list[int]


def read_tags(path: str, classes: Sequence[str] | None = None) -> TaggedImages:
    """Read image tags from a COCO-style JSON or a CSV (``file_name,tag;tag`` a line).

    A JSON needs ``images``, ``categories`` and ``annotations`` or ``points`` with ``image_id`` and
    ``category_id``; boxes and masks are not looked at, and crowd regions (``iscrowd``) give no tag.
    A CSV's images are numbered from 1.

    Args:
        classes: names in the contiguous order wanted; without it that is the order of category
            ids (JSON) or of names (CSV).

    Raises:
        InputError: unreadable file, or a tag that is no category.
    """
    if str(path).lower().endswith(".csv"):
        return _read_csv_tags(path, classes)
    return tags_from_coco(path, load_json(path, IMAGE_LISTS), classes)


def tags_from_coco(path: str, data: dict, classes: Sequence[str] | None = None) -> TaggedImages:
    """:func:`read_tags` of a COCO-style JSON already loaded from ``path``."""
    entries = data.get("annotations", data.get("points"))
    if entries is None:
        raise InputError(f"{path}: has neither 'annotations' nor 'points' to take tags from")
    categories = _sorted_categories(path, data["categories"])
    names = [category["name"] for category in categories]
    if classes is not None and sorted(classes) != sorted(names):
        raise InputError(
            f"{path}: its categories ({', '.join(names)}) are not the classes asked for "
            f"({', '.join(classes)})"
        )
    classes = list(classes or names)
    contiguous = category_indices(path, categories, classes)
    tags: dict[int, set[int]] = {image["id"]: set() for image in data["images"]}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: entry {number} of its tags is {entry!r}, expected an object")
        if entry.get("image_id") not in tags:
            raise InputError(f"{path}: image id {entry.get('image_id')} is not in 'images'")
        if entry.get("category_id") not in contiguous:
            raise InputError(
                f"{path}: tag with category id {entry.get('category_id')}, which is not in "
                "'categories'"
            )
        if not entry.get("iscrowd", 0):
            tags[entry["image_id"]].add(contiguous[entry["category_id"]])
    records = [
        {"file_name": image["file_name"], "image_id": image["id"]}
        | {key: image[key] for key in ("height", "width") if key in image}
        | {"image_classes": sorted(tags[image["id"]])}
        for image in data["images"]
    ]
    ids = {index: category_id for category_id, index in contiguous.items()}
    return TaggedImages(records, classes, [ids[index] for index in range(len(classes))])


def _sorted_categories(path: str, categories: Sequence[dict]) -> list[dict]:
    """By id; the ids are whole numbers or texts, and like the names all different."""
    ids = [category["id"] for category in categories]
    names = [str(category["name"]) for category in categories]
    if {type(category_id) for category_id in ids} not in ({int}, {str}, set()):
        raise InputError(f"{path}: the ids of its categories are {ids}, expected whole numbers")
    for what, values in (("id", ids), ("name", names)):
        if len(set(values)) < len(values):
            shown = ", ".join(map(str, values))
            raise InputError(f"{path}: two categories have the same {what} ({shown})")
    return sorted(categories, key=lambda category: category["id"])


def _read_csv_tags(path: str, classes: Sequence[str] | None) -> TaggedImages:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row and row[0] != CSV_HEADER]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8 ({error})") from None
    if any(len(row) != 2 for row in rows):
        wrong = next(row for row in rows if len(row) != 2)
        raise InputError(f"{path}: expected 'file_name,tag;tag' a line, got {','.join(wrong)!r}")
    tags = [[tag.strip() for tag in row[1].split(";") if tag.strip()] for row in rows]
    classes = list(classes or sorted({tag for image_tags in tags for tag in image_tags}))
    records = []
    for number, (row, image_tags) in enumerate(zip(rows, tags, strict=True), start=1):
        unknown = [tag for tag in image_tags if tag not in classes]
        if unknown:
            raise InputError(
                f"{path}: tag {unknown[0]!r} of {row[0]} is not a class ({', '.join(classes)})"
            )
        image_classes = sorted({classes.index(tag) for tag in image_tags})
        records.append({"file_name": row[0], "image_id": number, "image_classes": image_classes})
    return TaggedImages(records, classes, list(range(1, len(classes) + 1)))
