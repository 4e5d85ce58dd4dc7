"""COCO-like JSON, as this package and other tools write it, loaded in one regular form.

Other tools write numbers as text, and an id as a number in one list and as text in another one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bestie_d2.errors import InputError, not_parsed

BACKGROUND = {"background", "_background_", "__background__", "__ignore__"}  # names of no class
IMAGE_LISTS = {"images": ("id", "file_name"), "categories": ("id", "name")}  # of a COCO-like file
ID_KEYS = {"images": "image_id", "categories": "category_id"}  # in the lists that refer to them
NAME_KEYS = {"images": "file_name", "categories": "name"}
LONGEST_SIDE = 2**20  # pixels; run lengths have 32 bits, and memory is asked for by them
HALF_LETTERS = ("\\ud", "\\uD")  # begin an escape of UTF-16's halves of rare letters
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")  # "007" and "1.0" are names, not numbers
CROWD_VALUES = {  # of ``iscrowd``, as text
    **dict.fromkeys(("1", "1.0", "true", "yes"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no", "none", ""), 0),
}


def load_json(path: str, fields: Mapping[str, Sequence[str]]) -> dict:
    """Load a JSON object of lists, such as a COCO file, in the form of :func:`regular_lists`."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return regular_lists(path, parse_json(path, data), fields)


def parse_json(path: str, data: bytes) -> Any:
    """The content of a JSON file, whose texts are ones that a file can be called and hold."""
    try:
        text = data.decode(json.detect_encoding(data))  # UTF-8 or UTF-16, with a mark or without
        content = json.loads(text)
        if any(escape in text for escape in HALF_LETTERS):
            json.dumps(content, ensure_ascii=False).encode()  # refuses a half without the other
    except (ValueError, RecursionError) as error:
        raise not_parsed(path, "a JSON file", error) from None
    return content


def regular_lists(path: str, data: Any, fields: Mapping[str, Sequence[str]]) -> dict:
    """The content of a JSON file of lists, in one form; it is changed in place.

    Heights, widths and sizes of masks become whole numbers, ``iscrowd`` 0 or 1 where it says one of
    them. Ids of images and of categories that are all whole numbers, as numbers or as text, become
    numbers; an entry's ``image_id`` and ``category_id`` become the id that is meant, whichever way
    it is written. A byte order mark is passed over.

    Args:
        fields: the lists that must be there, those of ``IMAGE_LISTS`` among them, and the keys each
            of their entries must have.
    """
    for name, keys in fields.items():
        if not isinstance(data, dict) or not isinstance(data.get(name), list):
            raise InputError(
                f"{path}: has no list {name!r} at the top level: export it with its {name}"
            )
        text_key, wanted = NAME_KEYS.get(name), {*keys}
        for number, entry in enumerate(data[name]):
            problem = ""
            if not isinstance(entry, dict):
                problem = f" is {entry!r}, expected an object"
            elif not entry.keys() >= wanted:
                problem = f" has no {next(key for key in keys if key not in entry)!r}"
            elif text_key and not (isinstance(entry[text_key], str) and entry[text_key].strip()):
                problem = f": {text_key!r} is {entry[text_key]!r}, expected text"
            if problem:
                raise InputError(f"{path}: {name}[{number}]{problem}")
    _check_images(path, data["images"])
    ids = [(key, _make_ids_regular(data[name])) for name, key in ID_KEYS.items()]
    for entry in _referring_entries(data):
        _make_entry_regular(entry, ids)
    return data


def _check_images(path: str, images: Sequence[dict]) -> None:
    """Make sizes whole numbers; refuse what is no size or no id, and two images of one id."""
    first: dict[object, dict] = {}
    for number, image in enumerate(images):
        value, problem = image["id"], ""
        for side in ("height", "width"):
            if side in image:
                pixels = whole_number(image[side])
                if pixels is None or not 0 < pixels <= LONGEST_SIDE:
                    problem = f"{side!r} is {image[side]!r}, expected pixels"
                image[side] = pixels
        other = first.setdefault(id_key(value), image)
        if not _is_id(value):
            problem = f"its id is {value!r}, expected a number or text"
        elif other is not image:
            written = "" if repr(other["id"]) == repr(value) else f", this one is {value!r}"
            problem = f"another image has the id {other['id']!r}{written}"
        if problem:
            raise InputError(f"{path}: images[{number}]: {problem}")


def _make_ids_regular(items: Sequence[dict]) -> dict[object, object]:
    """The ids of a list by their :func:`id_key`; numbers if all of them mean one."""
    keys = [id_key(item["id"]) for item in items]
    if all(isinstance(key, int) for key in keys):
        for item, key in zip(items, keys, strict=True):
            item["id"] = key
    return {key: item["id"] for key, item in zip(keys, items, strict=True)}


def _make_entry_regular(entry: dict, known: Iterable[tuple[str, Mapping]]) -> None:
    for name, ids in known:
        value = entry.get(name)
        key = value if type(value) is int else id_key(value)
        if key in ids:
            entry[name] = ids[key]
        elif name in entry and not _is_id(value):
            entry[name] = repr(value)  # can be looked up
    if type(entry.get("iscrowd", 0)) is not int:
        crowd = crowd_value(entry)
        entry["iscrowd"] = entry["iscrowd"] if crowd is None else crowd
    mask = entry.get("segmentation")
    if isinstance(mask, dict) and isinstance(mask.get("size"), list):
        sides = [whole_number(side) for side in mask["size"]]
        mask["size"] = mask["size"] if None in sides else sides


def _referring_entries(data: Mapping) -> Iterator[dict]:
    """The entries of the lists that refer to images and categories."""
    for name in ("annotations", "points"):
        entries = data.get(name)
        if isinstance(entries, list):
            for entry in entries:
                if isinstance(entry, dict):
                    yield entry


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


def unknown_id(entry: Mapping, images: Container, categories: Container) -> str:
    """Why an entry is of no image or category of its file; "" if it is. Texts are in quotes."""
    if entry.get("image_id") not in images:
        return f"image id {entry.get('image_id')!r} is not in 'images'"
    if entry.get("category_id") not in categories:
        return f"category id {entry.get('category_id')!r} is not in 'categories'"
    return ""


def category_indices(path: str, data: Mapping, classes: Sequence[str]) -> dict[int | str, int]:
    """Contiguous class of each category id of a loaded file, matched by name; without those of
    :func:`passed_over_categories`, while other categories that are no classes are refused."""
    index = {name: contiguous for contiguous, name in enumerate(classes)}
    passed_over = passed_over_categories(data)
    found = {}
    for category in data["categories"]:
        name, category_id = category["name"], category["id"]
        if name not in index and category not in passed_over:
            raise InputError(
                f"{path}: category {name!r} is not a class of the data set ({', '.join(classes)})"
            )
        if not isinstance(category_id, (int, str)):
            raise InputError(
                f"{path}: category {name!r} has the id {category_id!r}, expected a whole number or "
                "text"
            )
        if name in index:
            found[category_id] = index[name]
    return found


def passed_over_categories(data: Mapping) -> list[dict]:
    """Categories that no annotation or point has and that are no classes: those that others name as
    their supercategory, as some exports have one for the project itself, and the background."""
    above = {
        category["supercategory"]
        for category in data["categories"]
        if isinstance(category.get("supercategory"), str)
        and category["supercategory"] != category["name"]
    }
    hardly = [category for category in data["categories"] if category["name"] in above | BACKGROUND]
    entries = _referring_entries(data) if hardly else ()
    used = {str(entry.get("category_id")) for entry in entries}
    return [category for category in hardly if str(category["id"]) not in used]
