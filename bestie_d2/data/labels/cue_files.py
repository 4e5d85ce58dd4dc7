"""Cues and given points, from a COCO-like JSON, a folder of text files or an export of a tool.

Files hold points as ``(x, y)``; they are turned to ``(y, x)`` here and nowhere else. They belong to
an image by its label name (:mod:`bestie_d2.data.names`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from bestie_d2.data.images import UNREADABLE, Size
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import POINTS, SAID
from bestie_d2.data.labels.annotation_tools.registry import Labels
from bestie_d2.data.labels.coco_json import category_indices, unknown_id
from bestie_d2.data.labels.kept_classes import KeptClasses
from bestie_d2.data.labels.label_files import is_folder_of_text, load_labels
from bestie_d2.data.labels.tags import log_once
from bestie_d2.data.names import (
    label_name,
    match_label_names,
    names_of_files,
    names_of_records,
    portable,
    without_suffix,
)
from bestie_d2.errors import InputError
from bestie_d2.structures import PointCues

GIVEN_SCORE = 1.0  # score of a point that a person gave
MARGIN = 1.0  # pixels: points so far outside of the border pixels' centers are moved to these
CLOSEST = 1.0  # pixels: nearer points of one class are one
SMALLEST_SIDE = 8  # pixels: on smaller images points within 0 to 1 are nothing special
FEWEST_WHOLE = 4  # points at 0 and 1 alone that are taken for parts of the sides
PERCENT = 100.0
LARGEST = float(np.finfo(np.float32).max)

Tell = Callable[[str], None]
Point = tuple[float, float, int, float]  # x, y, class, score: the order of files


class ImagePoints(NamedTuple):
    """The points of an image as a file has them; ``where`` they are is for messages, as is what an
    export says of a point in units of its own."""

    file: str
    where: str
    size: Size | None
    points: Iterable[Point]
    said: Mapping[Point, str] = MappingProxyType({})


def read_cues(
    path: str,
    *,
    classes: Sequence[str],
    sizes: Mapping[str, Size] | None = None,
    names: Mapping[str, str] | None = None,
    pictures: Callable[[], Pictures] | None = None,
    labels: Labels | None = None,
    on_problem: Callable[[InputError], None] | None = None,
    on_remark: Tell = log_once,
) -> dict[str, PointCues]:
    """Read instance cues or given points (the latter have score 1), by label name.

    A point within a pixel outside of its image is moved to the border; given points of one class
    that are within a pixel of each other are one.

    Args:
        path: a COCO-like JSON (``images``, ``categories``, ``points``), a folder with one text
            file an image, ``x y class [score]`` a line, class ``0..C-1``, or an export.
        classes: class names in contiguous order; a JSON's categories are matched by name.
        sizes: (height, width) by label name. What is said of other images is passed over. Needed
            to check the points of text files, which do not know the image's size.
        names: label names by the images' paths, if they lie in sub-folders; else those of
            ``sizes``, or those that the file itself has.
        pictures: finds those that an export is of; without it there is no reading one.
        labels: what is in ``path``, if it was read before.
        on_problem: told of each point that cannot be used, which is then left out, and of each
            image of another size; by default the first is an error.
        on_remark: told of what was moved or left out; by default it is logged.
    """

    def tell(line: str) -> None:
        if on_problem is None:
            raise InputError(line)
        on_problem(InputError(line))

    if labels is None and is_folder_of_text(path):
        found = list(_folder(path, classes, tell))
    else:
        if labels is None:
            _, labels = load_labels(path, POINTS, pictures=pictures, classes=classes)
        found = list(_listed(path, labels.lists if labels else {}, classes, tell))
    files = [image.file for image in found]
    known = names or {name: name for name in sizes or ()} or names_of_files(files)
    matched = match_label_names(path, files, known)
    pairs = list(zip(found, matched, strict=True))
    left = {without_suffix(image.file).casefold(): image.file for image, name in pairs if not name}
    for label in {*known.values()}.difference(matched):
        if label.casefold() in left:
            tell(
                f"{path}: {left[label.casefold()]!r} and the image {label!r} differ in upper and "
                "lower case alone: name them alike"
            )
    images: dict[str, ImagePoints] = {}
    for image, name in pairs:
        if name is not None:
            size = (sizes or {}).get(name, image.size)
            if image.size and size and tuple(size) != image.size:
                tell(
                    f"{path}: points of {image.file} lie on {image.size[0]}x{image.size[1]} "
                    f"pixels (height x width), but the image has {size[0]}x{size[1]}"
                )
            images[name] = image._replace(size=size, points=list(image.points))
    return _placed(path, images, tell, on_remark)


def read_cues_of_records(
    path: str,
    records: Sequence[Mapping],
    *,
    classes: Sequence[str],
    kept: KeptClasses | None = None,
    **arguments: Any,
) -> dict[str, PointCues]:
    """:func:`read_cues` of the images of records, with its other ``arguments``; of images that
    cannot be read, no size is known. Where only some classes count, ``kept``, the others' cues are
    left out, and text files have the numbers of all of them."""
    readable = [record for record in records if UNREADABLE not in record]
    sizes = {label_name(record): (record["height"], record["width"]) for record in readable}
    names, pictures = names_of_records(records), partial(Pictures.of_records, records)
    arguments |= {"sizes": sizes, "names": names, "pictures": pictures}
    found = read_cues(path, classes=kept.whole if kept else classes, **arguments)
    return {name: kept.cues(cues) for name, cues in found.items()} if kept else found


def _listed(path: str, data: Mapping, classes: Sequence[str], tell: Tell) -> Iterator[ImagePoints]:
    contiguous = category_indices(path, data, classes)
    points: dict[int | str, list[Point]] = {image["id"]: [] for image in data["images"]}
    said: dict[int | str, dict[Point, str]] = defaultdict(dict)
    for number, entry in enumerate(data["points"]):
        problem = unknown_id(entry, points, contiguous)
        try:
            x, y = map(float, () if isinstance(entry["point"], str) else entry["point"])
            score = float(entry.get("score", GIVEN_SCORE))
        except (TypeError, ValueError, OverflowError):
            x = y = score = math.nan
        if not _are_numbers(x, y, score):
            problem = f"expected finite numbers, 'point': [x, y], got {entry}"
        if problem:
            tell(f"{path}: points[{number}]: {problem}")
        else:
            point = (x, y, contiguous[entry["category_id"]], score)
            points[entry["image_id"]].append(point)
            if SAID in entry:
                said[entry["image_id"]][point] = entry[SAID]
    for image in data["images"]:
        file, size = image["file_name"], (image.get("height", 0), image.get("width", 0))
        where = f"{path}: image {file}"
        found = points[image["id"]], said[image["id"]]
        yield ImagePoints(file, where, size if all(size) else None, *found)


def _are_numbers(*values: float) -> bool:
    """Whether all are finite, as the float32 that they become too."""
    return all(abs(value) <= LARGEST for value in values)


def _folder(path: str, classes: Sequence[str], tell: Tell) -> Iterator[ImagePoints]:
    """Files of sub-folders too; none is opened before its points are asked for."""
    for file in sorted(Path(path).rglob("*.txt")):
        name = portable(str(file.relative_to(path)))
        yield ImagePoints(name, str(file), None, _points_of_lines(file, len(classes), tell))


def _points_of_lines(file: Path, num_classes: int, tell: Tell) -> Iterator[Point]:
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        try:
            x, y, label, score = map(float, (*words, str(GIVEN_SCORE))[:4])
        except ValueError:
            problem = f"expected 'x y class [score]', got {line!r}"
        else:
            if _are_numbers(x, y, score) and label in range(num_classes):
                yield x, y, int(label), score
                continue
            problem = f"class {label:g}, expected 0..{num_classes - 1}"
            if not _are_numbers(x, y, score):
                problem = f"expected finite numbers, got {line!r}"
        if words:
            tell(f"{file}, line {number}: {problem}")


def _placed(
    path: str, images: Mapping[str, ImagePoints], tell: Tell, on_remark: Tell
) -> dict[str, PointCues]:
    """All points brought to where they are meant."""
    found = list(images.values())
    points = np.array([point for image in found for point in image.points]).reshape(-1, 4)
    xy, class_ids, scores = points[:, :2], points[:, 2], points[:, 3]
    image_of = np.array([i for i, image in enumerate(found) for _ in image.points], int)
    sizes = np.array([image.size or (np.inf, np.inf) for image in found], float).reshape(-1, 2)
    sizes = sizes[image_of]
    fractions = ((xy >= 0) & (xy <= 1)).all(1) & (sizes.min(1) >= SMALLEST_SIDE)
    if len(xy) and fractions.all() and ((xy % 1).any() or len(xy) >= FEWEST_WHOLE):
        raise InputError(
            f"{path}: all {len(xy)} points are within 0 and 1: they look like fractions of the "
            "sides (0 to 1); expected pixels, x times the width and y times the height"
        )
    last = sizes[:, ::-1] - 1
    inside = _are_inside(xy, last)
    for index in np.flatnonzero(~inside):
        image = found[image_of[index]]
        said = image.said.get(tuple(points[index].tolist()), "")
        line = _why_outside(xy[index], last[index], image.size, said)
        tell(f"{image.where}: {line}")
    placed, kept = np.clip(xy, 0, last), inside.copy()
    given = np.flatnonzero(inside & (scores == GIVEN_SCORE))
    kept[given] = ~_are_repeated(np.c_[placed, class_ids, image_of][given])
    moved, repeated = (placed != xy)[inside].any(1).sum(), (inside & ~kept).sum()
    outside = "lie within a pixel outside of their image and are moved to its border"
    twice = "are there twice, at the place of another one of their class, and count once"
    for count, what in ((moved, outside), (repeated, twice)):
        if count:
            on_remark(f"{path}: {count} points {what}")
    yx = placed[kept, ::-1].astype(np.float32)
    columns = (yx, class_ids[kept].astype(np.int64), scores[kept].astype(np.float32))
    ends = np.cumsum(np.bincount(image_of[kept], minlength=len(found))).tolist()
    return {  # copies, for a view of a tensor is sent to other processes with all of it
        name: PointCues(*(torch.from_numpy(c[start:end].copy()) for c in columns))
        for name, (start, end) in zip(images, pairwise([0, *ends]), strict=True)
    }


def _are_inside(xy: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whether (..., 2) points lie on their images, or so little outside that they are moved in."""
    return (np.isfinite(xy) & (xy >= -MARGIN) & (xy <= last + MARGIN)).all(-1)


def _why_outside(xy: np.ndarray, last: np.ndarray, size: Size | None, said: str) -> str:
    line = "point (x, y) = ({:g}, {:g}) is outside the image".format(*xy)
    if size is None:
        return line
    line += f" of {size[0]}x{size[1]} pixels (height x width)"
    if said:  # shares of the sides that are exchanged stay too large
        return f"{line}: {said}"
    if _are_inside(xy[::-1], last):
        line += "; as (row, column) it would be inside: are x and y swapped?"
    elif ((xy >= 0) & (xy <= PERCENT)).all():
        line += "; expected pixels: is it in percent of the sides?"
    return line


def _are_repeated(points: np.ndarray) -> np.ndarray:
    """Which of (N, 4) x, y, class, image lie within a pixel of an earlier kept one of theirs."""
    repeated = np.zeros(len(points), bool)
    apart = points * (1, 1, 2 * CLOSEST, 2 * CLOSEST)
    pairs = cKDTree(apart).query_pairs(CLOSEST, output_type="ndarray")
    for earlier, later in pairs[np.argsort(pairs[:, 1], kind="stable")].tolist():
        repeated[later] |= not repeated[earlier]
    return repeated
