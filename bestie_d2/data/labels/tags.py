"""Readers of image tags, and with them of a data set's images and classes; what a reader passed
over, or took in another way than it was written, is told once and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detectron2.utils.logger import log_first_n

from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import TAGS
from bestie_d2.data.labels.annotation_tools.registry import Labels
from bestie_d2.data.labels.coco_json import (
    BACKGROUND,
    ID_KEYS,
    category_indices,
    crowd_value,
    passed_over_categories,
    unknown_id,
)
from bestie_d2.data.labels.label_files import load_labels
from bestie_d2.data.labels.tag_tables import read_table
from bestie_d2.errors import InputError

logger = logging.getLogger(__name__)

_remarks: dict[str, list[str]] = {}  # of the last reading, by data set


@dataclass(frozen=True)
class TaggedImages:
    """The images of a data set with their tags.

    Attributes:
        records: a dict an image: ``file_name`` as the file has it, ``image_id``, ``image_classes``
            (sorted contiguous class ids), and ``height``, ``width`` where the file states them.
        classes: class names in contiguous order.
        category_ids: the data set's own id of each class.
        remarks: lines on what was passed over, or read in another way than is usual.
    """

    records: list[dict]
    classes: list[str]
    category_ids: list[Any]  # whole numbers or texts
    remarks: list[str] = field(default_factory=list)


def read_tags(
    path: str,
    classes: Sequence[str] | None = None,
    *,
    kind: str = TAGS,
    pictures: Callable[[], Pictures] | None = None,
) -> TaggedImages:
    """Read image tags from a COCO-style JSON, a table (CSV, TSV; ``file_name,tag;tag`` a line), or
    an export of an annotation tool.

    A JSON needs ``images``, ``categories`` and ``annotations`` or ``points`` with ``image_id`` and
    ``category_id``; boxes and masks are not looked at, and crowd regions (``iscrowd``) give no tag.
    A category without annotations that is the parent of others, or the background, is no class,
    unless ``classes`` names it. What tables may look like:
    :func:`bestie_d2.data.labels.tag_tables.read_table`; their images are numbered from 1.

    Args:
        classes: names in the contiguous order wanted; without it that is the order of category
            ids (JSON) or of names (table).
        kind: ``POINTS`` if the file is one of points, of which the classes are the tags.
        pictures: finds those that an export is of; without it there is no reading one.
    """
    _, labels = load_labels(path, kind, pictures=pictures, classes=classes)
    return tags_of_labels(path, labels, classes)


def tags_of_labels(
    path: str, labels: Labels | None, classes: Sequence[str] | None = None
) -> TaggedImages:
    """:func:`read_tags` of what :func:`bestie_d2.data.labels.label_files.load_labels` gave."""
    if labels is not None:
        tagged = tags_from_coco(path, labels.lists, classes)
        return replace(
            tagged, remarks=[*(f"{path}: {line}" for line in labels.remarks), *tagged.remarks]
        )
    tags, names, remarks = read_table(path, classes)
    contiguous = {name: index for index, name in enumerate(names)}
    records = [
        {"file_name": name, "image_id": number}
        | {"image_classes": sorted({contiguous[word] for word in words})}
        for number, (name, words) in enumerate(tags.items(), start=1)
    ]
    return TaggedImages(records, names, list(range(1, len(names) + 1)), remarks)


def tags_from_coco(path: str, data: dict, classes: Sequence[str] | None = None) -> TaggedImages:
    """:func:`read_tags` of a COCO-style JSON already loaded from ``path``."""
    name = "annotations" if "annotations" in data else "points"
    if not isinstance(data.get(name), list):
        raise InputError(f"{path}: has neither 'annotations' nor 'points' to take tags from")
    ids = [category["id"] for category in data["categories"]]
    if {*map(type, ids)} not in ({int}, {str}, set()):
        raise InputError(f"{path}: the ids of its categories are {ids}, expected whole numbers")
    for what in ("id", "name"):
        values = [category[what] for category in data["categories"]]
        if len(set(values)) < len(values):
            shown = ", ".join(map(str, values))
            raise InputError(f"{path}: two categories have the same {what} ({shown})")
    passed_over = [c for c in passed_over_categories(data) if c["name"] not in (classes or ())]
    by_id = sorted(data["categories"], key=lambda category: category["id"])
    names = [category["name"] for category in by_id if category not in passed_over]
    if classes is not None and sorted(classes) != sorted(names):
        raise InputError(
            f"{path}: its categories ({', '.join(names)}) are not the classes asked for "
            f"({', '.join(classes)})"
        )
    classes = list(classes or names)
    contiguous = category_indices(path, data, classes)
    tags: dict[int | str, set[int]] = {image["id"]: set() for image in data["images"]}
    in_crowds: set[tuple[int | str, int]] = set()  # images and classes
    crowds = 0
    for number, entry in enumerate(data[name]):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: entry {number} of its tags is {entry!r}, expected an object")
        image_id, category_id, crowd = *map(entry.get, ID_KEYS.values()), crowd_value(entry)
        if crowd is None or image_id not in tags or category_id not in contiguous:
            problem = unknown_id(entry, tags, contiguous)
            problem = problem or f"'iscrowd' is {entry['iscrowd']!r}, expected 0 or 1"
            raise InputError(f"{path}: {name}[{number}]: {problem}")
        crowds += crowd
        if crowd:
            in_crowds.add((image_id, contiguous[category_id]))
        else:
            tags[image_id].add(contiguous[category_id])
    records = [
        {"file_name": image["file_name"], "image_id": image["id"]}
        | {key: image[key] for key in ("height", "width") if key in image}
        | {"image_classes": sorted(tags[image["id"]])}
        for image in data["images"]
    ]
    remarks = [
        f"category {category['name']!r} is no class: "
        + "it is the parent (supercategory) of others, and " * (category["name"] not in BACKGROUND)
        + "no image has it"
        for category in passed_over
    ]
    first: dict[str, str] = {}
    for class_name in classes:  # the ids say that they are two
        alike = first.setdefault(" ".join(class_name.split()).casefold(), class_name)
        if alike != class_name:
            remarks.append(
                f"the categories {alike!r} and {class_name!r} differ by letter case or blanks "
                "alone, and are two classes"
            )
    losing = len({image_id for image_id, index in in_crowds if index not in tags[image_id]})
    if losing:
        remarks.append(
            f"{crowds} annotations are crowds (iscrowd) and give no tag; by that {losing} of "
            f"{len(tags)} images lose one"
        )
    category_ids = sorted(contiguous, key=contiguous.__getitem__)
    return TaggedImages(records, classes, category_ids, [f"{path}: {line}" for line in remarks])


def keep_remarks(dataset_name: str, lines: Sequence[str]) -> None:
    """Log the lines, and keep them for who asks about the data set."""
    _remarks[dataset_name] = list(lines)
    for line in lines:
        log_once(line)


def remarks_of(dataset_name: str) -> list[str]:
    """What was to be told of a data set when it was last read."""
    return list(_remarks.get(dataset_name, ()))


def log_once(line: str, level: int = logging.INFO) -> None:
    """Log a line the first time: a set is read several times in a run."""
    log_first_n(level, line, name=logger.name, key="message")
