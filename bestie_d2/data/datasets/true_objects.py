"""The objects of a COCO file brought to the images and classes of a data set.

Images and categories are matched by name, for their ids may be numbered anew in each file. What
cannot be used is left out and told, as long as it is little.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import repr as shortened

from bestie_d2.data.datasets.object_masks import problem_of_mask
from bestie_d2.data.images import UNREADABLE
from bestie_d2.data.labels.coco_json import crowd_value, id_key
from bestie_d2.data.names import match_names, stem_of, without_suffix
from bestie_d2.errors import InputError

MOST_BAD = 0.1  # of the objects; with more of them that cannot be used, a set is refused
LINES = (0, 2, 4)  # numbers of polygons of less than three corners
LISTED = 3  # bad objects that a line names before it only counts


@dataclass
class TrueObjects:
    """The objects of a data set, and what was left out on the way.

    Attributes:
        source: the file, or the data set, that they come from.
        objects: the data set's image id -> annotations with ``category_id`` 0..C-1, ``iscrowd`` 0
            or 1, and ``segmentation``, ``bbox``, ``area`` as they were given; every image is there.
        bad: a line for each object that cannot be used.
        without_pixels: number of objects without a mask, or with an empty one.
        repeated: number of objects that are the same as another one, in class and mask.
        notes: lines on images that were passed over, or that the file does not have.
    """

    source: str
    objects: dict[Hashable, list[dict]]
    bad: list[str] = field(default_factory=list)
    without_pixels: int = 0
    repeated: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        left_out = len(self.bad) + self.without_pixels + self.repeated
        return sum(map(len, self.objects.values())) + left_out

    def add(self, record: Mapping, entry: Mapping, where: str) -> None:
        """Take an object of an image in if it has a mask; ``where`` names it."""
        if UNREADABLE in record:
            return  # of unknown size; whoever needs its pixels refuses the image
        mask = _without_lines(entry.get("segmentation"))
        if _is_empty(mask):
            self.without_pixels += 1
            return
        crowd = crowd_value(entry)
        problem = problem_of_mask(mask, (record["height"], record["width"]))
        if crowd is None:
            problem = f"'iscrowd' is {shortened(entry['iscrowd'])}, expected 0 or 1"
        if problem:
            self.bad.append(f"{where}: {problem}")
        else:
            taken = {**entry, "segmentation": mask, "iscrowd": crowd}
            self.objects[record["image_id"]].append(taken)

    def check(self) -> None:
        """Refuse objects of which too many, or all, cannot be used; the line names the first."""
        bad, total = len(self.bad), self.total
        if bad and (bad == total or bad > max(1, MOST_BAD * total)):
            raise InputError(f"{self.source}: {bad} of {total} objects cannot be used: {self._few}")

    @property
    def _few(self) -> str:
        more = f"; and {len(self.bad) - LISTED} more" if len(self.bad) > LISTED else ""
        return "; ".join(self.bad[:LISTED]) + more

    @property
    def notices(self) -> list[str]:
        """A line for each kind of what was left out, the bad objects last; none if everything is
        used."""
        lines = list(self.notes)
        for count, what, fate in (
            (self.without_pixels, "without a pixel", "left out"),
            (self.repeated, "given twice, with the same class and mask,", "counted once"),
        ):
            if count:
                verb = "is" if count == 1 else "are"
                lines.append(f"{_counted(count, 'object')} {what} {verb} {fate}")
        if not self.total:
            lines.append("no object in any image of the set: AP is no number")
        if self.bad:
            lines.append(
                f"{len(self.bad)} of {self.total} objects cannot be used and are left out: "
                f"{self._few}"
            )
        return [f"{self.source}: {line}" for line in lines]


class RecordsWithTruth(list[dict]):
    """The records of a data set of which nothing but its truth is given, and that truth."""

    def __init__(self, records: Sequence[dict], truth: TrueObjects) -> None:
        super().__init__(records)
        self.truth = truth


def objects_of_file(
    path: str, data: Mapping, records: Sequence[dict], classes: Sequence[str], root: str
) -> TrueObjects:
    """The objects that a COCO file has of a data set.

    Args:
        path, data: the file and what :func:`bestie_d2.data.labels.coco_json.load_json` read from
            it.
        records: of the data set, with ``file_name``, ``image_id``, ``height`` and ``width``.
        classes: names of its classes in contiguous order.
        root: its image folder, from which the file's names go out.

    Raises:
        InputError: no list of annotations, two entries of one id, no image of the set, or too many
            objects that cannot be used.
    """
    found = TrueObjects(path, {record["image_id"]: [] for record in records})
    images, categories, annotations = _lists_of(path, data)
    matched, found.notes = _match_images(data["images"], records, root)
    if records and not matched:
        raise InputError(
            f"{path}: none of the {_counted(len(records), 'image')} of the set is in it, first "
            f"{records[0]['file_name']}"
        )
    contiguous = _match_categories(data["categories"], classes)
    passed_over = 0
    for number, entry in enumerate(annotations):
        problem = _unknown_reference(entry, images, categories)
        if problem:
            found.bad.append(f"annotations[{number}]: {problem}")
            continue
        image_key, category_key = id_key(entry["image_id"]), id_key(entry["category_id"])
        record, class_id = matched.get(image_key), contiguous[category_key]
        where = f"annotations[{number}] (image {images[image_key].get('file_name')})"
        if record is None:
            passed_over += 1
        elif class_id is None:
            found.bad.append(
                f"{where}: category {categories[category_key]['name']!r} is not a class of the "
                f"data set ({', '.join(classes)})"
            )
        else:
            found.add(record, {**entry, "category_id": class_id}, where)
    if passed_over:
        objects = _counted(passed_over, "object")
        found.notes.append(f"{objects} of images not in the set passed over")
    found.check()
    return found


def objects_of_records(source: str, records: Sequence[dict], classes: Sequence[str]) -> TrueObjects:
    """The objects that a data set's records hold as ``annotations``, classes contiguous.

    Raises:
        InputError: too many of them cannot be used.
    """
    found = TrueObjects(source, {record["image_id"]: [] for record in records})
    for record in records:
        for number, entry in enumerate(record.get("annotations", ())):
            where = f"object {number} of image {record.get('file_name', record['image_id'])}"
            class_id = entry["category_id"]
            if 0 <= class_id < len(classes):
                found.add(record, entry, where)
            else:
                found.bad.append(f"{where}: class {class_id}, expected 0 to {len(classes) - 1}")
    found.check()
    return found


def known_annotations(path: str, data: Mapping) -> list[dict]:
    """Of the annotations whose image and category are in the file, the very ids that these have,
    and ``iscrowd``.

    Raises:
        InputError: no list of annotations, or two entries of one id.
    """
    images, categories, annotations = _lists_of(path, data)
    return [
        {
            "image_id": images[id_key(entry["image_id"])]["id"],
            "category_id": categories[id_key(entry["category_id"])]["id"],
            "iscrowd": crowd,
        }
        for entry in annotations
        if not _unknown_reference(entry, images, categories)
        and (crowd := crowd_value(entry)) is not None
    ]


ById = dict[Hashable, dict]


def _lists_of(path: str, data: Mapping) -> tuple[ById, ById, list]:
    """Images and categories by their ids' keys, and the list of annotations."""
    images: ById = {}
    categories: ById = {}
    for name, entries in (("images", images), ("categories", categories)):
        for number, entry in enumerate(data[name]):
            if entries.setdefault(id_key(entry["id"]), entry) is not entry:
                raise InputError(
                    f"{path}: {name}[{number}]: another one has the id {entry['id']!r}"
                )
    annotations = data.get("annotations")
    if not isinstance(annotations, list):
        raise InputError(f"{path}: has no list 'annotations' at the top level")
    return images, categories, annotations


def _unknown_reference(entry: object, images: ById, categories: ById) -> str | None:
    """Why an annotation belongs to no image or category of its file, if it does not."""
    if not isinstance(entry, dict):
        return f"is {shortened(entry)}, expected an object"
    for kind, known in (("image", images), ("category", categories)):
        if f"{kind}_id" not in entry:
            return f"has no '{kind}_id'"
        if id_key(entry[f"{kind}_id"]) not in known:
            return f"{kind} id {entry[f'{kind}_id']!r} is not in the file's list"
    return None


def _match_images(
    images: Sequence[Mapping], records: Sequence[dict], root: str
) -> tuple[dict[Hashable, dict], list[str]]:
    """The record of each image of a file, by the image's ``id_key``; lines on images without a
    record, and on records without an image.

    By path from the image folder ``root``; else by stem, where only one has it; else, among those
    of the stem, by id. By id alone only if not one name is known.
    """
    notes: list[str] = []
    matched = _by_name(images, records, root)
    if not matched and images and records:
        by_id = {id_key(record["image_id"]): record for record in records}
        keys = [id_key(image["id"]) for image in images]
        matched = {key: by_id[key] for key in keys if key in by_id}
        notes.append("none of its images has the name of one of the set; matched by their ids")
    seen = {id(record) for record in matched.values()}
    missing = [record["file_name"] for record in records if id(record) not in seen]
    if missing:
        of = _counted(len(records), "image")
        notes.append(
            f"{len(missing)} of the set's {of} are not in it and count as without objects, first "
            f"{missing[0]}"
        )
    if len(matched) < len(images):
        of = _counted(len(images), "image")
        notes.append(f"{len(images) - len(matched)} of its {of} are not in the set and passed over")
    return matched, notes


def _by_name(images: Sequence[Mapping], records: Sequence[dict], root: str) -> dict[Hashable, dict]:
    known: dict[str, int] = {}  # the record of each path, -1 where two have it
    for index, record in enumerate(records):
        name = record["file_name"]
        for path in (name, os.path.relpath(name, root)) if root else (name,):
            key = without_suffix(path)
            known[key] = index if known.get(key, index) == index else -1
    names = [without_suffix((image.get("file_name") or "").strip()) for image in images]
    found = match_names(names, known)
    taken = {known[name] for name in names if name in known}
    by_id = {
        (stem_of(record["file_name"]), id_key(record["image_id"])): index
        for index, record in enumerate(records)
        if index not in taken
    }
    counts = Counter(found)
    matched: dict[Hashable, dict] = {}
    for image, name, number in zip(images, names, found, strict=True):
        image_key = id_key(image["id"])
        if number in (None, -1) or (counts[number] > 1 and name not in known):
            number = by_id.get((name.rpartition("/")[2], image_key))
        if number is not None:
            matched[image_key] = records[number]
    return matched


def _match_categories(
    categories: Sequence[Mapping], classes: Sequence[str]
) -> dict[Hashable, int | None]:
    """Contiguous class of each category, None for what is no class; the case of letters decides
    only between names that are else the same."""
    folded = [name.strip().casefold() for name in classes]
    found: dict[Hashable, int | None] = {}
    for category in categories:
        name = str(category["name"])
        alike = name.strip().casefold()
        index = folded.index(alike) if folded.count(alike) == 1 else None
        found[id_key(category["id"])] = classes.index(name) if name in classes else index
    return found


def _without_lines(mask: object) -> object:
    """Polygons without those that have no area beside others: points, lines and nothing at all."""
    if not isinstance(mask, list) or len(mask) == 1:
        return mask
    others = [part for part in mask if not isinstance(part, list) or len(part) not in LINES]
    return others or mask


def _is_empty(mask: object) -> bool:
    """Whether there is no mask at all, as in files of boxes."""
    if isinstance(mask, list):
        return not any(part or part == 0 for part in mask)
    if isinstance(mask, Mapping):
        return "counts" in mask and mask["counts"] in ("", b"", [])
    return mask is None


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
