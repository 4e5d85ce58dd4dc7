"""Readers of the files that pass between the stages: weak maps, cues and points.

Files hold points as ``(x, y)``; they are turned to ``(y, x)`` here and nowhere else. Weak labels
belong to an image by its *stem*, the file name without folder and extension.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bestie_d2.errors import InputError
from bestie_d2.structures import IGNORE_INDEX, PointCues

GIVEN_SCORE = 1.0  # score of a point that a person gave
# What Pillow raises for a file that it cannot or will not read.
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
UNREADABLE = "unreadable"  # of a record: why its image cannot be opened
INDEX_MODES = ("P", "L", "1")  # Pillow's modes of palette, 8-bit grey and 1-bit grey images
IMAGE_LISTS = {"images": ("id", "file_name"), "categories": ("id", "name")}  # of a COCO-like file

Size = tuple[int, int]  # (height, width)
Cue = tuple[float, float, int, float]  # x, y, class, score: the order of files


def read_weak_sem_seg(path: str, num_classes: int, size: Size | None = None) -> np.ndarray:
    """Read a weak semantic map, or any index PNG, palette or grey.

    Returns:
        (H, W) uint8 WSSS indices: 0 background, 1..``num_classes``, 255 ignore.

    Raises:
        InputError: missing, unreadable, not an index image, not of ``size`` (height, width), or an
            index above ``num_classes`` that is not 255; the line names the file.
    """
    try:
        with Image.open(path) as image:
            mode, array = image.mode, np.array(image)
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
    array = array.astype(np.uint8)
    wrong = array[(array > num_classes) & (array != IGNORE_INDEX)]
    if wrong.size:
        raise InputError(
            f"index map {path}: index {wrong.max()}, expected 0..{num_classes} or {IGNORE_INDEX}"
        )
    return array


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
    for number, image in enumerate(data.get("images", [])):
        _check_image_entry(f"{path}: images[{number}]", image)
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


# -- cues and points


def read_cues(
    path: str, *, classes: Sequence[str], sizes: Mapping[str, Size] | None = None
) -> dict[str, PointCues]:
    """Read instance cues or given points (the latter have score 1).

    Args:
        path: a COCO-like JSON (``images``, ``categories``, ``points``), or a folder with one text
            file an image, ``x y class [score]`` a line, class ``0..C-1``.
        classes: class names in contiguous order; a JSON's categories are matched by name.
        sizes: (height, width) by image stem. Text files of other images are passed over. Needed
            to check the points of text files, which do not know the image's size.

    Returns:
        Cues by image stem, (y, x) in pixels.

    Raises:
        InputError: unreadable file, unknown category or image id, a point outside its image, or an
            image size other than ``sizes`` says.
    """
    reader = _read_cue_folder if os.path.isdir(path) else _read_cue_json
    return reader(path, classes, sizes)


def _read_cue_json(
    path: str, classes: Sequence[str], sizes: Mapping[str, Size] | None
) -> dict[str, PointCues]:
    data = load_json(path, {**IMAGE_LISTS, "points": ("image_id", "category_id", "point")})
    contiguous = category_indices(path, data["categories"], classes)
    images = {image["id"]: image for image in data["images"]}
    cues: dict[int, list[Cue]] = {image_id: [] for image_id in images}
    for number, entry in enumerate(data["points"]):
        where = f"{path}: points[{number}]"
        image_id, category_id = entry["image_id"], entry["category_id"]
        try:
            x, y = (float(value) for value in entry["point"])
            score = float(entry.get("score", GIVEN_SCORE))
        except (TypeError, ValueError):
            raise InputError(f"{where}: expected numbers, 'point': [x, y], got {entry}") from None
        if image_id not in images:
            raise InputError(f"{where}: image id {image_id} is not in 'images'")
        if category_id not in contiguous:
            raise InputError(f"{where}: category id {category_id} is not in 'categories'")
        cues[image_id].append((x, y, contiguous[category_id], score))
    by_stem = {}
    for image_id, image in images.items():
        stem = Path(image["file_name"]).stem
        if stem in by_stem:
            raise InputError(f"{path}: two images are called {stem!r}; weak labels go by that name")
        size = _agreed_size(path, image, (sizes or {}).get(stem))
        by_stem[stem] = _to_cues(f"{path}: image {image['file_name']}", cues[image_id], size)
    return by_stem


def _agreed_size(path: str, image: dict, size: Size | None) -> Size | None:
    if "height" not in image or "width" not in image:
        return size
    stated = (image["height"], image["width"])
    if size is not None and tuple(size) != stated:
        raise InputError(
            f"{path}: points of {image['file_name']} lie on {stated[0]}x{stated[1]} pixels (height "
            f"x width), but the image has {size[0]}x{size[1]}"
        )
    return stated


def _read_cue_folder(
    path: str, classes: Sequence[str], sizes: Mapping[str, Size] | None
) -> dict[str, PointCues]:
    cues = {}
    for file in sorted(Path(path).glob("*.txt")):
        if sizes is None or file.stem in sizes:
            size = None if sizes is None else sizes[file.stem]
            cues[file.stem] = _to_cues(str(file), _read_cue_lines(file, len(classes)), size)
    return cues


def _read_cue_lines(file: Path, num_classes: int) -> Iterable[Cue]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            x, y, label, score = (float(word) for word in (*line.split(), GIVEN_SCORE)[:4])
        except ValueError:
            raise InputError(
                f"{file}, line {number}: expected 'x y class [score]', got {line!r}"
            ) from None
        if label not in range(num_classes):
            raise InputError(
                f"{file}, line {number}: class {label:g}, expected 0..{num_classes - 1}"
            )
        yield x, y, int(label), score


def _to_cues(where: str, cues: Iterable[Cue], size: Size | None) -> PointCues:
    cues = list(cues)
    if not cues:
        return PointCues.empty()
    xs, ys, classes, scores = zip(*cues, strict=True)
    if size is not None:
        for x, y in zip(xs, ys, strict=True):
            if not (0 <= x <= size[1] - 1 and 0 <= y <= size[0] - 1):
                raise InputError(
                    f"{where}: point (x, y) = ({x:g}, {y:g}) is outside the image of "
                    f"{size[0]}x{size[1]} pixels (height x width)"
                )
    yx = torch.tensor([ys, xs], dtype=torch.float32).T.contiguous()
    return PointCues(yx, torch.tensor(classes), torch.tensor(scores, dtype=torch.float32))
