"""Cues and given points, from a COCO-like JSON or a folder of text files.

Files hold points as ``(x, y)``; they are turned to ``(y, x)`` here and nowhere else. They belong to
an image by its label name (:mod:`bestie_d2.data.names`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from bestie_d2.data.images import UNREADABLE, Size
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, category_indices, load_json
from bestie_d2.data.labels.remarks import log_once
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

Point = tuple[float, float, int, float]  # x, y, class, score: the order of files


class ImagePoints(NamedTuple):
    """The points of an image as a file has them; ``where`` they are is for messages."""

    name: str
    where: str
    size: Size | None
    points: list[Point]


def refuse(problem: InputError) -> None:
    """Raise what is wrong."""
    raise problem


def read_cues(
    path: str,
    *,
    classes: Sequence[str],
    sizes: Mapping[str, Size] | None = None,
    names: Mapping[str, str] | None = None,
    on_problem: Callable[[InputError], None] = refuse,
    on_remark: Callable[[str], None] = log_once,
) -> dict[str, PointCues]:
    """Read instance cues or given points (the latter have score 1).

    A point within a pixel outside of its image is moved to the border; given points of one class
    that are within a pixel of each other are one.

    Args:
        path: a COCO-like JSON (``images``, ``categories``, ``points``), or a folder with one text
            file an image, ``x y class [score]`` a line, class ``0..C-1``.
        classes: class names in contiguous order; a JSON's categories are matched by name.
        sizes: (height, width) by label name. What is said of other images is passed over. Needed
            to check the points of text files, which do not know the image's size.
        names: label names by the images' paths, if they lie in sub-folders; else those of
            ``sizes``, or those that the file itself has.
        on_problem: told of each point that cannot be used, which is then left out, and of each
            image of another size; by default the first is an error.
        on_remark: told of what was moved or left out; by default it is logged.

    Returns:
        Cues by label name, (y, x) in pixels.

    Raises:
        InputError: unreadable file, unknown category or image id, a point outside its image, points
            that are all within 0 and 1, or an image size other than ``sizes`` says.
    """
    if names is None and sizes is not None:
        names = {name: name for name in sizes}
    reader = _Reader(path, classes, sizes or {}, names, on_problem)
    images = reader.read_folder() if os.path.isdir(path) else reader.read_json()
    return reader.placed(list(images), on_remark)


def read_cues_of_records(
    path: str, records: Sequence[Mapping], **arguments: Any
) -> dict[str, PointCues]:
    """:func:`read_cues` of the images of records, with its other ``arguments``; of images that
    cannot be read, no size is known."""
    readable = [record for record in records if UNREADABLE not in record]
    sizes = {label_name(record): (record["height"], record["width"]) for record in readable}
    return read_cues(path, sizes=sizes, names=names_of_records(records), **arguments)


@dataclass(frozen=True)
class _Reader:
    """Reads one file or folder; the attributes are arguments of :func:`read_cues`."""

    path: str
    classes: Sequence[str]
    sizes: Mapping[str, Size]
    names: Mapping[str, str] | None
    on_problem: Callable[[InputError], None]

    def _tell(self, line: str) -> None:
        self.on_problem(InputError(line))

    def read_json(self) -> Iterator[ImagePoints]:
        lists = {**IMAGE_LISTS, "points": ("image_id", "category_id", "point")}
        data = load_json(self.path, lists)
        contiguous = category_indices(self.path, data, self.classes)
        points: dict[int | str, list[Point]] = {image["id"]: [] for image in data["images"]}
        for number, entry in enumerate(data["points"]):
            try:
                point = _point_of(entry, points, contiguous)
                points[entry["image_id"]].append(point)
            except InputError as problem:
                self._tell(f"{self.path}: points[{number}]: {problem}")
        names = self._match([image["file_name"] for image in data["images"]])
        for image, name in zip(data["images"], names, strict=True):
            if name is not None:
                where = f"{self.path}: image {image['file_name']}"
                yield ImagePoints(name, where, self._agreed_size(image, name), points[image["id"]])

    def _agreed_size(self, image: Mapping, name: str) -> Size | None:
        size = self.sizes.get(name)
        if "height" not in image or "width" not in image:
            return size
        stated = (image["height"], image["width"])
        if size is not None and tuple(size) != stated:
            self._tell(
                f"{self.path}: points of {image['file_name']} lie on {stated[0]}x{stated[1]} "
                f"pixels (height x width), but the image has {size[0]}x{size[1]}"
            )
        return size or stated

    def read_folder(self) -> Iterator[ImagePoints]:
        """Files of sub-folders too; those of images that are not asked for are not opened."""
        files = sorted(Path(self.path).rglob("*.txt"))
        names = self._match([portable(str(file.relative_to(self.path))) for file in files])
        for file, name in zip(files, names, strict=True):
            if name is not None:
                yield ImagePoints(name, str(file), self.sizes.get(name), self._read_lines(file))

    def _read_lines(self, file: Path) -> list[Point]:
        points: list[Point] = []
        lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                x, y, label, score = (float(word) for word in (*line.split(), str(GIVEN_SCORE))[:4])
            except ValueError:
                reason = f"expected 'x y class [score]', got {line!r}"
            else:
                if not math.isfinite(score):
                    reason = f"score {score:g}, expected a number"
                elif label not in range(len(self.classes)):
                    reason = f"class {label:g}, expected 0..{len(self.classes) - 1}"
                else:
                    points.append((x, y, int(label), score))
                    continue
            self._tell(f"{file}, line {number}: {reason}")
        return points

    def _match(self, files: Sequence[str]) -> list[str | None]:
        """The label name of the image that each file is, or is of; None for those of other sets."""
        known = self.names or names_of_files(files)
        matched = match_label_names(self.path, files, known)
        pairs = zip(files, matched, strict=True)
        left = {without_suffix(file).casefold(): file for file, name in pairs if name is None}
        for name in set(known.values()) - set(matched) if left else ():
            if name.casefold() in left:
                self._tell(
                    f"{self.path}: {left[name.casefold()]!r} and the image {name!r} differ in "
                    "upper and lower case alone: name them alike"
                )
        return matched

    def placed(
        self, images: Sequence[ImagePoints], on_remark: Callable[[str], None]
    ) -> dict[str, PointCues]:
        """All points brought to where they are meant."""
        points = np.array([point for image in images for point in image.points]).reshape(-1, 4)
        xy, class_ids, scores = points[:, :2], points[:, 2], points[:, 3]
        image_of = np.repeat(np.arange(len(images)), [len(image.points) for image in images])
        unknown = (np.inf, np.inf)
        sizes = np.array([image.size or unknown for image in images], float).reshape(-1, 2)
        _refuse_fractions(self.path, xy, sizes[image_of])
        last = sizes[image_of, ::-1] - 1
        inside = _are_inside(xy, last)
        for index in np.flatnonzero(~inside):
            image = images[image_of[index]]
            self._tell(f"{image.where}: {_why_outside(xy[index], last[index], image.size)}")
        placed, kept = np.clip(xy, 0, last), inside.copy()
        given = np.flatnonzero(inside & (scores == GIVEN_SCORE))
        kept[given] = ~_are_repeated(np.c_[placed, class_ids, image_of][given])
        moved, repeated = (placed != xy)[inside].any(1).sum(), (inside & ~kept).sum()
        if moved:
            on_remark(
                f"{self.path}: {moved} points lie within a pixel outside of their image and are "
                "moved to its border"
            )
        if repeated:
            on_remark(
                f"{self.path}: {repeated} points are there twice, at the place of another one of "
                "their class, and count once"
            )
        yx = placed[kept, ::-1].astype(np.float32)
        columns = (yx, class_ids[kept].astype(np.int64), scores[kept].astype(np.float32))
        ends = np.cumsum(np.bincount(image_of[kept], minlength=len(images))).tolist()
        return {  # copies, for a view of a tensor is sent to other processes with all of it
            image.name: PointCues(*(torch.from_numpy(c[start:end].copy()) for c in columns))
            for image, start, end in zip(images, [0, *ends][:-1], ends, strict=True)
        }


def _point_of(entry: Mapping, images: Mapping, contiguous: Mapping[int | str, int]) -> Point:
    try:
        if isinstance(entry["point"], str):
            raise TypeError
        x, y = map(float, entry["point"])
        score = float(entry.get("score", GIVEN_SCORE))
    except (TypeError, ValueError):
        raise InputError(f"expected numbers, 'point': [x, y], got {entry}") from None
    if not math.isfinite(x + y + score):
        raise InputError(f"expected finite numbers, 'point': [x, y], got {entry}")
    if entry["image_id"] not in images:
        raise InputError(f"image id {entry['image_id']!r} is not in 'images'")
    if entry["category_id"] not in contiguous:
        raise InputError(f"category id {entry['category_id']!r} is not in 'categories'")
    return x, y, contiguous[entry["category_id"]], score


def _refuse_fractions(path: str, xy: np.ndarray, sizes: np.ndarray) -> None:
    """Refuse (N, 2) points that are all parts of their images' sides."""
    within_one = ((xy >= 0) & (xy <= 1)).all(1) & (sizes.min(1) >= SMALLEST_SIDE)
    if not len(xy) or not within_one.all():
        return
    if (xy % 1).any() or len(xy) >= FEWEST_WHOLE:
        raise InputError(
            f"{path}: all {len(xy)} points are within 0 and 1: they look like fractions of the "
            "sides (0 to 1); expected pixels, x times the width and y times the height"
        )


def _are_inside(xy: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whether (..., 2) points lie on their images, or so little outside that they are moved in."""
    return (np.isfinite(xy) & (xy >= -MARGIN) & (xy <= last + MARGIN)).all(-1)


def _why_outside(xy: np.ndarray, last: np.ndarray, size: Size | None) -> str:
    line = "point (x, y) = ({:g}, {:g}) is outside the image".format(*xy)
    if size is None:
        return line
    line += f" of {size[0]}x{size[1]} pixels (height x width)"
    if _are_inside(xy[::-1], last):
        return f"{line}; as (row, column) it would be inside: are x and y swapped?"
    if ((xy >= 0) & (xy <= PERCENT)).all():
        return f"{line}; expected pixels: is it in percent of the sides?"
    return line


def _are_repeated(points: np.ndarray) -> np.ndarray:
    """Which of (N, 4) x, y, class, image lie within a pixel of an earlier kept one of theirs."""
    repeated = np.zeros(len(points), bool)
    apart = points * (1, 1, 2 * CLOSEST, 2 * CLOSEST)
    pairs = cKDTree(apart).query_pairs(CLOSEST, output_type="ndarray")
    for earlier, later in pairs[np.argsort(pairs[:, 1], kind="stable")].tolist():
        repeated[later] |= not repeated[earlier]
    return repeated
