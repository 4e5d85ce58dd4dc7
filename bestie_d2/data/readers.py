"""Readers of index maps and of COCO-like JSON, the files that pass between the stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from bestie_d2.errors import InputError
from bestie_d2.structures import IGNORE_INDEX

# What Pillow raises for a file that it cannot or will not read.
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
UNREADABLE = "unreadable"  # of a record: why its image cannot be opened
# Pillow's modes of palette, 8-bit grey, 1-bit grey and 16-bit grey images
INDEX_MODES = ("P", "L", "1", "I;16", "I;16B", "I")
STEPS = {"L;2": 85, "L;4": 17}  # what Pillow multiplies the values of 2- and 4-bit grey by
MAX_CLASSES = IGNORE_INDEX - 1  # that fit into a map of bytes beside 0 and 255
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
        raise InputError(f"index map {path}: no such file") from None
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
    """Load a JSON object of lists, such as a COCO file.

    Args:
        fields: the lists that must be there, and the keys each of their entries must have.

    Raises:
        InputError: unreadable, not JSON, or a list or key is missing.
    """
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
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
    seen: set[object] = set()
    for number, image in enumerate(data.get("images", [])):
        _check_image_entry(f"{path}: images[{number}]", image)
        if repr(image.get("id")) in seen and "id" in image:
            raise InputError(f"{path}: images[{number}]: another image has the id {image['id']!r}")
        seen.add(repr(image.get("id")))
    return data


def _check_image_entry(where: str, image: dict) -> None:
    if not isinstance(image["file_name"], str):
        raise InputError(f"{where}: 'file_name' is {image['file_name']!r}, expected text")
    for key in ("height", "width"):
        if key in image and not (isinstance(image[key], int) and image[key] > 0):
            raise InputError(f"{where}: {key!r} is {image[key]!r}, expected pixels")


def category_indices(path: str, categories: list[dict], classes: Sequence[str]) -> dict[int, int]:
    """Contiguous class of each category id of a file, matched by name.

    Raises:
        InputError: a category that is not among ``classes``.
    """
    index = {name: contiguous for contiguous, name in enumerate(classes)}
    for category in categories:
        if category["name"] not in index:
            raise InputError(
                f"{path}: category {category['name']!r} is not a class of the data set "
                f"({', '.join(classes)})"
            )
    return {category["id"]: index[category["name"]] for category in categories}
