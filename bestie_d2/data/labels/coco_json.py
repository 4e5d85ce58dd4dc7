"""COCO-like JSON, as this package and other tools write it, loaded in one regular form.

Other tools write numbers as text, and an id as a number in one list and as text in another one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from bestie_d2.errors import InputError

BACKGROUND = {"background", "_background_", "__background__", "__ignore__"}  # names of no class
IMAGE_LISTS = {"images": ("id", "file_name"), "categories": ("id", "name")}  # of a COCO-like file
NAME_KEYS = {"images": "file_name", "categories": "name"}
ID_KEYS = {"images": "image_id", "categories": "category_id"}  # in the lists that refer to them
REFERRING = ("annotations", "points")
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")  # "007" and "1.0" are names, not numbers
CROWD_VALUES = {  # of ``iscrowd``, as text
    **dict.fromkeys(("1", "1.0", "true", "yes"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no", "none", ""), 0),
}


def load_json(path: str, fields: Mapping[str, Sequence[str]]) -> dict:
    """Load a JSON object of lists, such as a COCO file.

    Heights, widths and sizes of masks become whole numbers, ``iscrowd`` 0 or 1 where it says one of
    them. Ids of images and of categories that are all whole numbers, as numbers or as text, become
    numbers; an entry's ``image_id`` and ``category_id`` become the id that is meant, whichever way
    it is written. A byte order mark is passed over.

    Args:
        fields: the lists that must be there, and the keys each of their entries must have.

    Raises:
        InputError: unreadable, not JSON, a list or key is missing, a name, a size or an id is
            none, or two images have the same id.
    """
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read())  # tells UTF-8 and UTF-16, with a mark or without
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error})") from None
    for name, keys in fields.items():
        if not isinstance(data, dict) or not isinstance(data.get(name), list):
            raise InputError(f"{path}: has no list {name!r} at the top level")
        for number, entry in enumerate(data[name]):
            problem = _problem_of_entry(entry, keys, NAME_KEYS.get(name))
            if problem:
                raise InputError(f"{path}: {name}[{number}]{problem}")
    for number, image in enumerate(data.get("images", ())):
        _make_size_whole(f"{path}: images[{number}]", image)
    ids = {name: _make_ids_regular(path, name, data.get(name, ())) for name in ID_KEYS}
    for name in REFERRING:
        entries = data.get(name)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                _make_entry_regular(entry, ids)
    return data


def _problem_of_entry(entry: object, keys: Sequence[str], name_key: str | None) -> str | None:
    if not isinstance(entry, dict):
        return f" is {entry!r}, expected an object"
    for key in keys:
        if key not in entry:
            return f" has no {key!r}"
    if name_key:
        text = entry.get(name_key)
        if not isinstance(text, str) or not text.strip():
            return f": {name_key!r} is {text!r}, expected text"
    return None


def _make_size_whole(where: str, image: dict) -> None:
    for key in ("height", "width"):
        if key in image:
            pixels = whole_number(image[key])
            if pixels is None or pixels <= 0:
                raise InputError(f"{where}: {key!r} is {image[key]!r}, expected pixels")
            image[key] = pixels


def _make_ids_regular(path: str, name: str, items: Sequence[dict]) -> Mapping[object, object]:
    """The ids of a list by their :func:`id_key`; two images of the same one are refused."""
    items = [item for item in items if "id" in item]
    keys = [id_key(item["id"]) for item in items]
    first: dict[object, object] = {}
    for number, (item, key) in enumerate(zip(items, keys, strict=True)):
        value = item["id"]
        if name == "images" and not _is_id(value):
            raise InputError(
                f"{path}: images[{number}]: its id is {value!r}, expected a number or text"
            )
        if name == "images" and key in first:
            written = "" if repr(first[key]) == repr(value) else f", this one is {value!r}"
            raise InputError(
                f"{path}: images[{number}]: another image has the id {first[key]!r}{written}"
            )
        first[key] = value
    if not all(isinstance(key, int) for key in keys):
        return first
    for item, key in zip(items, keys, strict=True):
        item["id"] = key
    return {key: key for key in keys}


def _make_entry_regular(entry: dict, ids: Mapping[str, Mapping]) -> None:
    for name, key in ID_KEYS.items():
        if key in entry:
            value = entry[key]
            other = value if type(value) is int or _is_id(value) else repr(value)  # hashable
            entry[key] = ids[name].get(id_key(value), other)
    if type(entry.get("iscrowd", 0)) is not int:
        crowd = crowd_value(entry)
        entry["iscrowd"] = entry["iscrowd"] if crowd is None else crowd
    mask = entry.get("segmentation")
    if isinstance(mask, dict) and isinstance(mask.get("size"), list):
        sides = [whole_number(side) for side in mask["size"]]
        mask["size"] = mask["size"] if None in sides else sides


def crowd_value(entry: Mapping) -> int | None:
    """0 or 1 for ``iscrowd`` as a number, a truth value, a text, or not there; None if unclear."""
    value = entry.get("iscrowd", 0)
    if type(value) is int:  # nearly all
        return value if value in (0, 1) else None
    return CROWD_VALUES.get(str(value).strip().lower())


def whole_number(value: object) -> int | None:
    """128, 128.0, "128" and "128.0" as 128; None for what is no whole number."""
    if type(value) is int:
        return value  # as a float, a long one would be another
    if isinstance(value, bool) or not isinstance(value, (float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def id_key(value: object) -> int | str:
    """What ids are compared by: the same for 1, 1.0 and "1", never the same for other ids."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        text = value.strip()
        return int(text) if WHOLE_NUMBER.fullmatch(text) else repr(value)
    number = whole_number(value)
    return repr(value) if number is None else number


def _is_id(value: object) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def category_indices(path: str, data: Mapping, classes: Sequence[str]) -> dict[int | str, int]:
    """Contiguous class of each category id of a loaded file, matched by name.

    A category that is no class is left out if :func:`passed_over_categories` has it.

    Raises:
        InputError: a category that is not among ``classes``.
    """
    index = {name: contiguous for contiguous, name in enumerate(classes)}
    others = [category for category in data["categories"] if category["name"] not in index]
    passed_over = passed_over_categories(data) if others else []
    for category in others:
        if category not in passed_over:
            raise InputError(
                f"{path}: category {category['name']!r} is not a class of the data set "
                f"({', '.join(classes)})"
            )
    for category in data["categories"]:
        if not isinstance(category["id"], (int, str)):
            raise InputError(
                f"{path}: category {category['name']!r} has the id {category['id']!r}, expected a "
                "whole number or text"
            )
    return {c["id"]: index[c["name"]] for c in data["categories"] if c["name"] in index}


def passed_over_categories(data: Mapping) -> list[dict]:
    """Categories that no annotation or point has and that are no classes: those that others name as
    their supercategory, as some exports have one for the project itself, and the background."""
    above = {
        category.get("supercategory")
        for category in data["categories"]
        if isinstance(category.get("supercategory"), str)
        and category["supercategory"] != category["name"]
    }
    hardly = [category for category in data["categories"] if category["name"] in above | BACKGROUND]
    if not hardly:
        return []
    lists = (data.get(name) for name in REFERRING)
    entries = [entry for found in lists if isinstance(found, list) for entry in found]
    used = {str(entry.get("category_id")) for entry in entries if isinstance(entry, dict)}
    return [category for category in hardly if str(category["id"]) not in used]
