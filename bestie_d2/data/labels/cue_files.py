"""Readers of cues and points.

Files hold points as ``(x, y)``; they are turned to ``(y, x)`` here and nowhere else. Weak labels
belong to an image by its label name (:mod:`bestie_d2.data.names`): mostly its *stem*, the file name
without folder and extension.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bestie_d2.data.images import UNREADABLE, Size
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, category_indices, load_json
from bestie_d2.data.labels.remarks import log_once
from bestie_d2.data.names import LabelNames, label_name, portable, without_suffix
from bestie_d2.errors import InputError
from bestie_d2.structures import PointCues

GIVEN_SCORE = 1.0  # score of a point that a person gave
MARGIN = 1.0  # pixels: points so far outside of the border pixels' centers are moved to these
CLOSEST = 1.0  # pixels: nearer points of one class are one
SMALLEST_SIDE = 8  # pixels: on smaller images points within 0 to 1 are nothing special
PERCENT = 100.0
FEWEST_WHOLE = 4  # points at 0 and 1 alone that are taken for parts of the sides

Cue = tuple[float, float, int, float]  # x, y, class, score: the order of files

OnProblem = Callable[[InputError], None]


def refuse(problem: InputError) -> None:
    """Raise what is wrong."""
    raise problem


def read_cues(
    path: str,
    *,
    classes: Sequence[str],
    sizes: Mapping[str, Size] | None = None,
    names: LabelNames | None = None,
    on_problem: OnProblem = refuse,
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
        names: of the images, if they lie in sub-folders; else those of ``sizes``, or those that
            the file itself has.
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
        names = LabelNames((name, name) for name in sizes)
    reader = _read_cue_folder if os.path.isdir(path) else _read_cue_json
    counts = PointCounts()
    cues = {}
    for name, where, written, size in reader(path, classes, sizes, names, on_problem):
        found = list(written)
        counts.add(found, size)
        cues[name] = _to_cues(where, found, size, counts, on_problem)
    counts.refuse_fractions(path)
    for line in counts.remarks(path):
        on_remark(line)
    return cues


def read_cues_of_records(
    path: str, records: Sequence[Mapping], **arguments: object
) -> dict[str, PointCues]:
    """:func:`read_cues` of the images of records; of those that cannot be read, no size is known.

    Args:
        arguments: ``classes`` and others of :func:`read_cues`.
    """
    sizes = {
        label_name(record): (record["height"], record["width"])
        for record in records
        if UNREADABLE not in record
    }
    return read_cues(path, sizes=sizes, names=LabelNames.of_records(records), **arguments)


# name of the image, where its points are for messages, the points, size of the image
ImageCues = tuple[str, str, Iterable[Cue], Size | None]


def _read_cue_json(
    path: str,
    classes: Sequence[str],
    sizes: Mapping[str, Size] | None,
    names: LabelNames | None,
    on_problem: OnProblem,
) -> Iterable[ImageCues]:
    data = load_json(path, {**IMAGE_LISTS, "points": ("image_id", "category_id", "point")})
    contiguous = category_indices(path, data, classes)
    images = {image["id"]: image for image in data["images"]}
    cues: dict[int | str, list[Cue]] = {image_id: [] for image_id in images}
    for number, entry in enumerate(data["points"]):
        try:
            cue = _cue_of(f"{path}: points[{number}]", entry, images, contiguous)
        except InputError as problem:
            on_problem(problem)
        else:
            cues[entry["image_id"]].append(cue)
    files = [image["file_name"] for image in images.values()]
    matched = _matched(path, files, names or LabelNames.of_files(files), on_problem)
    for (image_id, image), name in zip(images.items(), matched, strict=True):
        if name is not None:
            size = _agreed_size(path, image, (sizes or {}).get(name), on_problem)
            yield name, f"{path}: image {image['file_name']}", cues[image_id], size


def _matched(
    path: str, files: Sequence[str], names: LabelNames, on_problem: OnProblem
) -> list[str | None]:
    """The label name of the image that each file is, or is of; None for those of other sets."""
    matched, twice = names.match([without_suffix(file) for file in files])
    if twice is not None:
        raise InputError(f"{path}: two images are called {twice!r}; weak labels go by that name")
    left = {
        without_suffix(file).casefold(): file
        for file, name in zip(files, matched, strict=True)
        if name is None
    }
    for name in names.without(matched) if left else ():
        if name.casefold() in left:
            line = (
                f"{path}: {left[name.casefold()]!r} and the image {name!r} differ in upper and "
                "lower case alone: name them alike"
            )
            on_problem(InputError(line))
    return matched


def _cue_of(where: str, entry: dict, images: Mapping, contiguous: Mapping[int | str, int]) -> Cue:
    image_id, category_id = entry["image_id"], entry["category_id"]
    try:
        if isinstance(entry["point"], str):
            raise TypeError
        x, y = (float(value) for value in entry["point"])
        score = float(entry.get("score", GIVEN_SCORE))
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected numbers, 'point': [x, y], got {entry}") from None
    if not all(map(math.isfinite, (x, y, score))):
        raise InputError(f"{where}: expected finite numbers, 'point': [x, y], got {entry}")
    if image_id not in images:
        raise InputError(f"{where}: image id {image_id!r} is not in 'images'")
    if category_id not in contiguous:
        raise InputError(f"{where}: category id {category_id!r} is not in 'categories'")
    return x, y, contiguous[category_id], score


def _agreed_size(path: str, image: dict, size: Size | None, on_problem: OnProblem) -> Size | None:
    if "height" not in image or "width" not in image:
        return size
    stated = (image["height"], image["width"])
    if size is not None and tuple(size) != stated:
        line = (
            f"{path}: points of {image['file_name']} lie on {stated[0]}x{stated[1]} pixels (height "
            f"x width), but the image has {size[0]}x{size[1]}"
        )
        on_problem(InputError(line))
    return size or stated


def _read_cue_folder(
    path: str,
    classes: Sequence[str],
    sizes: Mapping[str, Size] | None,
    names: LabelNames | None,
    on_problem: OnProblem,
) -> Iterable[ImageCues]:
    """Files of sub-folders too; those of images that are not asked for are not opened."""
    files = sorted(Path(path).rglob("*.txt"))
    inside_folder = [portable(str(file.relative_to(path))) for file in files]
    known = names or LabelNames.of_files(inside_folder)
    matched = _matched(path, inside_folder, known, on_problem)
    for file, name in zip(files, matched, strict=True):
        if name is not None:
            size = None if sizes is None else sizes.get(name)
            yield name, str(file), _read_cue_lines(file, len(classes), on_problem), size


def _read_cue_lines(file: Path, num_classes: int, on_problem: OnProblem) -> Iterable[Cue]:
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            x, y, label, score = (float(word) for word in (*line.split(), GIVEN_SCORE)[:4])
        except ValueError:
            reason = f"expected 'x y class [score]', got {line!r}"
        else:
            if label in range(num_classes) and math.isfinite(score):
                yield x, y, int(label), score
                continue
            reason = f"class {label:g}, expected 0..{num_classes - 1}"
            if not math.isfinite(score):
                reason = f"score {score:g}, expected a number"
        on_problem(InputError(f"{file}, line {number}: {reason}"))


def _to_cues(
    where: str, cues: list[Cue], size: Size | None, counts: PointCounts, on_problem: OnProblem
) -> PointCues:
    placed = []
    for cue in cues:
        found = inside(cue, size)
        if found is None:
            on_problem(InputError(outside_line(where, cue, size)))
            continue
        counts.moved += found != cue
        placed.append(found)
    kept = without_repeated(placed)
    counts.repeated += len(placed) - len(kept)
    if not kept:
        return PointCues.empty()
    xs, ys, classes, scores = zip(*kept, strict=True)
    yx = torch.tensor([ys, xs], dtype=torch.float32).T.contiguous()
    return PointCues(yx, torch.tensor(classes), torch.tensor(scores, dtype=torch.float32))


@dataclass
class PointCounts:
    """What was done with the points of a file.

    Attributes:
        points: all of them.
        moved: points just outside of their image, moved in.
        repeated: points at the place of another one of their class, left out.
        within_one: points in [0, 1] by both coordinates, in images that are not tiny.
        between: of these, those with a coordinate that is neither 0 nor 1.
    """

    points: int = 0
    moved: int = 0
    repeated: int = 0
    within_one: int = 0
    between: int = 0

    def add(self, cues: Iterable[Cue], size: Size | None) -> None:
        """Count points as they are written."""
        for x, y, *_ in cues:
            self.points += 1
            if 0 <= x <= 1 and 0 <= y <= 1 and (size is None or min(size) >= SMALLEST_SIDE):
                self.within_one += 1
                self.between += not (float(x).is_integer() and float(y).is_integer())

    def refuse_fractions(self, path: str) -> None:
        """Refuse a file whose points are all parts of their images' sides.

        Raises:
            InputError: they are.
        """
        if not self.points or self.within_one < self.points:
            return
        if self.between or self.points >= FEWEST_WHOLE:
            raise InputError(
                f"{path}: all {self.points} points are within 0 and 1: they look like fractions of "
                "the sides (0 to 1); expected pixels, x times the width and y times the height"
            )

    def remarks(self, path: str) -> list[str]:
        lines = []
        if self.moved:
            lines.append(
                f"{path}: {self.moved} points lie within a pixel outside of their image and are "
                "moved to its border"
            )
        if self.repeated:
            lines.append(
                f"{path}: {self.repeated} points are there twice, at the place of another one of "
                "their class, and count once"
            )
        return lines


def inside(cue: Cue, size: Size | None) -> Cue | None:
    """A point on its image, moved there if it lies just outside; None if it lies elsewhere."""
    x, y, *rest = cue
    if not (math.isfinite(x) and math.isfinite(y)) or x < -MARGIN or y < -MARGIN:
        return None
    if size is None:
        return max(x, 0.0), max(y, 0.0), *rest
    last_y, last_x = size[0] - 1, size[1] - 1
    if x > last_x + MARGIN or y > last_y + MARGIN:
        return None
    return min(max(x, 0.0), last_x), min(max(y, 0.0), last_y), *rest


def outside_line(where: str, cue: Cue, size: Size | None) -> str:
    """What is wrong with a point that is not on its image."""
    x, y = cue[:2]
    line = f"{where}: point (x, y) = ({x:g}, {y:g}) is outside the image"
    if size is None:
        return line
    line += f" of {size[0]}x{size[1]} pixels (height x width)"
    if inside((y, x, *cue[2:]), size) is not None:
        return f"{line}; as (row, column) it would be inside: are x and y swapped?"
    if 0 <= x <= PERCENT and 0 <= y <= PERCENT:
        return f"{line}; expected pixels: is it in percent of the sides?"
    return line


def without_repeated(cues: Sequence[Cue]) -> list[Cue]:
    """Given points without those that lie within a pixel of an earlier one of their class; cues
    that a network scored are all kept."""
    kept: list[Cue] = []
    cells: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    for cue in cues:
        x, y, class_id, score = cue
        if score != GIVEN_SCORE:
            kept.append(cue)
            continue
        column, row = math.floor(x), math.floor(y)
        near = (
            place
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            for place in cells.get((class_id, row + dy, column + dx), ())
        )
        if any(math.hypot(x - other_x, y - other_y) <= CLOSEST for other_x, other_y in near):
            continue
        kept.append(cue)
        cells.setdefault((class_id, row, column), []).append((x, y))
    return kept
