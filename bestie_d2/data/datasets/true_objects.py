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
from bestie_d2.data.labels.coco_json import ID_KEYS, crowd_value, id_key
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
        without_pixels, repeated: how many have no pixel, or class and mask of another one.
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

    def add(self, record: Mapping, entry: Mapping, class_id: int, where: str) -> None:
        """Take an object of an image in if it has a mask; ``where`` names it."""
        if UNREADABLE in record:
            return  # of unknown size; whoever needs its pixels refuses the image
        mask, crowd = _without_lines(entry.get("segmentation")), crowd_value(entry)
        if _is_empty(mask):
            self.without_pixels += 1
            return
        problem = problem_of_mask(mask, (record["height"], record["width"]))
        if crowd is None:
            problem = f"'iscrowd' is {shortened(entry['iscrowd'])}, expected 0 or 1"
        if problem:
            self.bad.append(f"{where}: {problem}")
        else:
            taken = {**entry, "category_id": class_id, "segmentation": mask, "iscrowd": crowd}
            self.objects[record["image_id"]].append(taken)

    def check(self) -> TrueObjects:
        """Refuse objects of which too many, or all, cannot be used; the line names the first."""
        bad, total = len(self.bad), self.total
        if bad and (bad == total or bad > max(1, MOST_BAD * total)):
            raise InputError(f"{self.source}: {bad} of {total} objects cannot be used: {self._few}")
        return self

    @property
    def _few(self) -> str:
        more = f"; and {len(self.bad) - LISTED} more" if len(self.bad) > LISTED else ""
        return "; ".join(self.bad[:LISTED]) + more

    @property
    def notices(self) -> list[str]:
        """A line for each kind of what was left out, the bad objects last."""
        lines, bad, total = list(self.notes), len(self.bad), self.total
        for count, what, fate in (
            (self.without_pixels, "without a pixel", "left out"),
            (self.repeated, "given twice, with the same class and mask,", "counted once"),
        ):
            if count:
                verb = "is" if count == 1 else "are"
                lines.append(f"{_counted(count, 'object')} {what} {verb} {fate}")
        if not total:
            lines.append("no object in any image of the set: AP is no number")
        if bad:
            lines.append(f"{bad} of {total} objects cannot be used and are left out: {self._few}")
        return [f"{self.source}: {line}" for line in lines]


class RecordsWithTruth(list[dict]):
    """The records of a data set of which nothing but its truth is given, and that truth."""

    def __init__(self, records: Sequence[dict], truth: TrueObjects) -> None:
        super().__init__(records)
        self.truth = truth


def _belonging(path: str, data: Mapping) -> list[tuple[dict, dict] | str]:
    """Of each annotation of a loaded file its image and category, or why it belongs to none."""
    known: dict[str, dict[Hashable, dict]] = {name: {} for name in ID_KEYS}
    for name, by_id in known.items():
        for number, entry in enumerate(data[name]):
            if by_id.setdefault(id_key(entry["id"]), entry) is not entry:
                raise InputError(
                    f"{path}: {name}[{number}]: another one has the id {entry['id']!r}"
                )
    if not isinstance(data.get("annotations"), list):
        raise InputError(f"{path}: has no list 'annotations' at the top level")

    def owners(entry: object) -> tuple[dict, dict] | str:
        if not isinstance(entry, dict):
            return f"is {shortened(entry)}, expected an object"
        for name, key in ID_KEYS.items():
            if key not in entry:
                return f"has no {key!r}"
            if id_key(entry[key]) not in known[name]:
                return f"{key.replace('_', ' ')} {entry[key]!r} is not in the file's list"
        image_id, category_id = id_key(entry["image_id"]), id_key(entry["category_id"])
        return known["images"][image_id], known["categories"][category_id]

    return [owners(entry) for entry in data["annotations"]]


def known_annotations(path: str, data: Mapping) -> list[dict]:
    """The annotations whose image and category are in the file and whose ``iscrowd`` is clear; a
    file without a list of annotations, or with two categories of one id, is refused."""
    belonging = zip(_belonging(path, data), data["annotations"], strict=True)
    known = [entry for owners, entry in belonging if not isinstance(owners, str)]
    return [entry for entry in known if crowd_value(entry) is not None]


def objects_of_file(
    path: str, data: Mapping, records: Sequence[dict], classes: Sequence[str], root: str
) -> TrueObjects:
    """The objects that a COCO file, loaded as ``data``, has of a data set. Names of ``records`` go
    out from the image folder ``root``; ``classes`` are in contiguous order.

    Raises:
        InputError: no list of annotations, two entries of one id, no image of the set, or too many
            objects that cannot be used.
    """
    belonging = _belonging(path, data)
    found = TrueObjects(path, {record["image_id"]: [] for record in records})
    matched = _match_images(data["images"], records, root, found.notes)
    if records and not matched:
        raise InputError(
            f"{path}: none of the {_counted(len(records), 'image')} of the set is in it, first "
            f"{records[0]['file_name']}"
        )
    contiguous = {c["name"]: _class_of(c["name"], classes) for c in data["categories"]}
    passed_over = 0
    for number, owners in enumerate(belonging):
        where, entry = f"annotations[{number}]", data["annotations"][number]
        if isinstance(owners, str):
            found.bad.append(f"{where}: {owners}")
            continue
        image, category = owners
        record, class_id = matched.get(id_key(image["id"])), contiguous[category["name"]]
        where += f" (image {image['file_name']})"
        if record is None:
            passed_over += 1
        elif class_id is None:
            found.bad.append(
                f"{where}: category {category['name']!r} is not a class of the data set "
                f"({', '.join(classes)})"
            )
        else:
            found.add(record, entry, class_id, where)
    if passed_over:
        objects = _counted(passed_over, "object")
        found.notes.append(f"{objects} of images not in the set passed over")
    return found.check()


def objects_of_records(source: str, records: Sequence[dict], classes: Sequence[str]) -> TrueObjects:
    """The objects that a data set's records hold as ``annotations``, classes contiguous; too many
    that cannot be used are refused."""
    found = TrueObjects(source, {record["image_id"]: [] for record in records})
    for record in records:
        for number, entry in enumerate(record.get("annotations", ())):
            where = f"object {number} of image {record.get('file_name', record['image_id'])}"
            class_id = entry["category_id"]
            if 0 <= class_id < len(classes):
                found.add(record, entry, class_id, where)
            else:
                found.bad.append(f"{where}: class {class_id}, expected 0 to {len(classes) - 1}")
    return found.check()


def _match_images(
    images: Sequence[Mapping], records: Sequence[dict], root: str, notes: list[str]
) -> dict[Hashable, dict]:
    """The record of each image of a file, by the ``id_key`` of its id; notes what matches nothing.

    By path from the image folder ``root``; else by stem, where only one has it; else, among those
    of the stem, by id. By id alone only if not one name is known.
    """
    known: dict[str, int] = {}  # the record of each path, -1 where two have it
    for index, record in enumerate(records):
        name = record["file_name"]
        for path in {name, os.path.relpath(name, root) if root else name}:
            path = without_suffix(path)
            known[path] = index if known.get(path, index) == index else -1
    keys = [id_key(image["id"]) for image in images]
    names = [without_suffix(image["file_name"].strip()) for image in images]
    taken = {known.get(name) for name in names}
    by_id = {
        (stem_of(record["file_name"]), id_key(record["image_id"])): index
        for index, record in enumerate(records)
        if index not in taken
    }
    numbers = match_names(names, known)
    counts = Counter(numbers)
    matched: dict[Hashable, dict] = {}
    for key, name, number in zip(keys, names, numbers, strict=True):
        if number in (None, -1) or (counts[number] > 1 and name not in known):
            number = by_id.get((name.rpartition("/")[2], key))
        if number is not None:
            matched[key] = records[number]
    if records and not matched:
        alone = {id_key(record["image_id"]): record for record in records}
        matched = {key: alone[key] for key in keys if key in alone}
        notes.append("none of its images has the name of one of the set; matched by their ids")
    seen = {id(record) for record in matched.values()}
    missing = [record["file_name"] for record in records if id(record) not in seen]
    if missing:
        notes.append(
            f"{len(missing)} of the set's {_counted(len(records), 'image')} are not in it and "
            f"count as without objects, first {missing[0]}"
        )
    if len(matched) < len(images):
        others, all_images = len(images) - len(matched), _counted(len(images), "image")
        notes.append(f"{others} of its {all_images} are not in the set and passed over")
    return matched


def _class_of(name: str, classes: Sequence[str]) -> int | None:
    """The contiguous class of a category, None if it is no class; the case of letters decides only
    between names that are else the same."""
    if name in classes:
        return classes.index(name)
    folded = [known.strip().casefold() for known in classes]
    alike = name.strip().casefold()
    return folded.index(alike) if folded.count(alike) == 1 else None


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
    return f"{count} {what}{'s' * (count != 1)}"
