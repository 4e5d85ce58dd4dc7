"""COCO-like JSON as other tools write it, made regular: numbers that are text, ids of two kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bestie_d2.errors import InputError

WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")  # "007" and "1.0" are names, not numbers
CROWD_VALUES = {  # of ``iscrowd``, as text
    **dict.fromkeys(("1", "1.0", "true", "yes"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no", "none", ""), 0),
}
ENTRIES = ("annotations", "points")  # the lists whose entries name an image and a category
ID_KEYS = {"images": "image_id", "categories": "category_id"}  # of the entries


def make_regular(path: str, data: dict) -> None:
    """Bring the lists of a file to one form, in place.

    Sizes become whole numbers, ``iscrowd`` 0 or 1 where it says one of them. Ids of images and of
    categories that are all whole numbers, as numbers or as text, become numbers; an entry's
    ``image_id`` and ``category_id`` become the id that is meant, whichever way it is written.

    Raises:
        InputError: a size or an id that is none, or an id that is there twice.
    """
    for number, image in enumerate(data.get("images", ())):
        _make_sizes_whole(path, number, image)
    ids = {name: _make_ids_regular(path, name, data.get(name, ())) for name in ID_KEYS}
    for name in ENTRIES:
        entries = data.get(name)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                _make_entry_regular(entry, ids)


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
        return int(number) if number.is_integer() else None
    except ValueError:
        return None


def _make_sizes_whole(path: str, number: int, image: dict) -> None:
    for key in ("height", "width"):
        if key in image:
            pixels = whole_number(image[key])
            if pixels is None or pixels <= 0:
                raise InputError(
                    f"{path}: images[{number}]: {key!r} is {image[key]!r}, expected pixels"
                )
            image[key] = pixels


def _id_key(value: object) -> object:
    """The same for 1, 1.0 and "1"; never the same for other ids."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        text = value.strip()
        return int(text) if WHOLE_NUMBER.fullmatch(text) else repr(value)
    number = whole_number(value)
    return repr(value) if number is None else number


def _make_ids_regular(path: str, name: str, items: list[dict]) -> Mapping[object, object]:
    """The ids of a list by their keys; two images of the same one are refused."""
    written = [item["id"] for item in items if "id" in item]
    keys = [_id_key(value) for value in written]
    if name == "images":
        _check_image_ids(path, written, keys)
    if all(isinstance(key, int) for key in keys):
        for item, key in zip((item for item in items if "id" in item), keys, strict=True):
            item["id"] = key
        written = keys
    return dict(zip(keys, written, strict=True))


def _check_image_ids(path: str, written: list[object], keys: list[object]) -> None:
    first: dict[object, object] = {}
    for number, (value, key) in enumerate(zip(written, keys, strict=True)):
        if not _is_id(value):
            raise InputError(
                f"{path}: images[{number}]: its id is {value!r}, expected a number or text"
            )
        if key in first:
            own = "" if repr(first[key]) == repr(value) else f", its own is {value!r}"
            raise InputError(
                f"{path}: images[{number}]: another image has the id {first[key]!r}{own}"
            )
        first[key] = value


def _is_id(value: object) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _make_entry_regular(entry: dict, ids: Mapping[str, Mapping]) -> None:
    for name, key in ID_KEYS.items():
        value = entry.get(key, entry)
        if value is not entry:
            other = value if type(value) is int or _is_id(value) else repr(value)
            entry[key] = ids[name].get(_id_key(value), other)
    if type(entry.get("iscrowd", 0)) is not int:
        crowd = crowd_value(entry)
        entry["iscrowd"] = entry["iscrowd"] if crowd is None else crowd
    mask = entry.get("segmentation")
    if isinstance(mask, dict) and isinstance(mask.get("size"), list):
        sides = [whole_number(side) for side in mask["size"]]
        mask["size"] = mask["size"] if None in sides else sides
