"""Readers of index maps and of COCO-like JSON, the files that pass between the stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from bestie_d2.data.labels.regular_json import ENTRIES, make_regular
from bestie_d2.data.names import missing
from bestie_d2.errors import InputError
from bestie_d2.structures import IGNORE_INDEX

# What Pillow raises for a file that it cannot or will not read.
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
UNREADABLE = "unreadable"  # of a record: why its image cannot be opened
# Pillow's modes of palette, 8-bit grey, 1-bit grey and 16-bit grey images
INDEX_MODES = ("P", "L", "1", "I;16", "I;16B", "I")
STEPS = {"L;2": 85, "L;4": 17}  # what Pillow multiplies the values of 2- and 4-bit grey by
MAX_CLASSES = IGNORE_INDEX - 1  # that fit into a map of bytes beside 0 and 255
BACKGROUND = {"background", "_background_", "__background__", "__ignore__"}  # names of no class
IMAGE_LISTS = {"images": ("id", "file_name"), "categories": ("id", "name")}  # of a COCO-like file

Size = tuple[int, int]  # (height, width)


def read_weak_sem_seg(path: str, num_classes: int, size: Size | None = None) -> np.ndarray:
    """Read a weak semantic map, or any index PNG, palette or grey.

    Returns:
        (H, W) uint8 WSSS indices: 0 background, 1..``num_classes``, 255 ignore.

    Raises:
        InputError: missing, unreadable, not an index image, not of ``size`` (height, width), an
            index above ``num_classes`` that is not 255, or more classes than a map can hold; the
            line names the file.
    """
    check_class_limit(f"index map {path}", num_classes)
    try:
        with Image.open(path) as image:
            mode, array = image.mode, _indices(image)
    except FileNotFoundError:
        raise InputError(missing("index map", str(path))) from None
    except IMAGE_ERRORS as error:
        raise InputError(f"index map {path}: not a readable PNG ({error})") from None
    if mode not in INDEX_MODES:
        raise InputError(
            f"index map {path}: mode {mode}, expected class indices in a palette or grey 8-bit PNG"
        )
    if size is not None and array.shape != tuple(size):
        raise InputError(
            f"index map {path}: {array.shape[0]}x{array.shape[1]} pixels (height x width), "
            f"but its image has {size[0]}x{size[1]}"
        )
    wrong = array[(array > num_classes) & (array != IGNORE_INDEX)]
    if wrong.size:
        raise InputError(
            f"index map {path}: index {wrong.max()}, expected 0..{num_classes} or {IGNORE_INDEX}"
        )
    return array.astype(np.uint8)


def check_class_limit(what: str, num_classes: int) -> None:
    """Refuse more classes than a weak map can hold; the line begins with ``what``."""
    if num_classes > MAX_CLASSES:
        raise InputError(
            f"{what}: {num_classes} classes, and weak maps, of a byte a pixel, hold at most "
            f"{MAX_CLASSES} beside background and unknown"
        )


def _indices(image: Image.Image) -> np.ndarray:
    """(H, W) of an unsigned type, the values as they are stored."""
    stored = image.tile[0].args if image.tile else ""
    array = np.array(image)
    if isinstance(stored, str) and stored in STEPS:
        return array // STEPS[stored]
    return array.view(np.uint32) if array.dtype == np.int32 else array


def load_json(path: str, fields: Mapping[str, Sequence[str]]) -> dict:
    """Load a JSON object of lists, such as a COCO file, in a regular form.

    A byte order mark is passed over. Sizes, ids and ``iscrowd`` are made regular; see
    :func:`bestie_d2.data.labels.regular_json.make_regular`.

    Args:
        fields: the lists that must be there, and the keys each of their entries must have.

    Raises:
        InputError: unreadable, not JSON, a list or key is missing, or a size or an id is none.
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
            if not isinstance(entry, dict):
                raise InputError(f"{path}: {name}[{number}] is {entry!r}, expected an object")
            for key in keys:
                if key not in entry:
                    raise InputError(f"{path}: {name}[{number}] has no {key!r}")
    for name, key in (("images", "file_name"), ("categories", "name")):
        for number, entry in enumerate(data.get(name, []) if name in fields else []):
            text = entry.get(key)
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{path}: {name}[{number}]: {key!r} is {text!r}, expected text")
    make_regular(path, data)
    return data


def category_indices(path: str, data: Mapping, classes: Sequence[str]) -> dict[int | str, int]:
    """Contiguous class of each category id of a file, matched by name.

    A category that is no class is passed over if :func:`passed_over_categories` has it.

    Args:
        data: of :func:`load_json`.

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
    found = {}
    for category in data["categories"]:
        if not isinstance(category["id"], (int, str)):
            raise InputError(
                f"{path}: category {category['name']!r} has the id {category['id']!r}, expected a "
                "whole number or text"
            )
        if category["name"] in index:
            found[category["id"]] = index[category["name"]]
    return found


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
    lists = (data.get(name) for name in ENTRIES)
    entries = [entry for found in lists if isinstance(found, list) for entry in found]
    used = {str(entry.get("category_id")) for entry in entries if isinstance(entry, dict)}
    return [category for category in hardly if str(category["id"]) not in used]
