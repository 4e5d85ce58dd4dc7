"""Readers of cues and points.

Files hold points as ``(x, y)``; they are turned to ``(y, x)`` here and nowhere else. Weak labels
belong to an image by its *stem*, the file name without folder and extension.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from bestie_d2.data.readers import IMAGE_LISTS, Size, category_indices, load_json
from bestie_d2.errors import InputError
from bestie_d2.structures import PointCues

GIVEN_SCORE = 1.0  # score of a point that a person gave

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
    on_problem: OnProblem = refuse,
) -> dict[str, PointCues]:
    """Read instance cues or given points (the latter have score 1).

    Args:
        path: a COCO-like JSON (``images``, ``categories``, ``points``), or a folder with one text
            file an image, ``x y class [score]`` a line, class ``0..C-1``.
        classes: class names in contiguous order; a JSON's categories are matched by name.
        sizes: (height, width) by image stem. Text files of other images are passed over. Needed
            to check the points of text files, which do not know the image's size.
        on_problem: told of each point that cannot be used, which is then left out, and of each
            image of another size; by default the first is an error.

    Returns:
        Cues by image stem, (y, x) in pixels.

    Raises:
        InputError: unreadable file, unknown category or image id, a point outside its image, or an
            image size other than ``sizes`` says.
    """
    reader = _read_cue_folder if os.path.isdir(path) else _read_cue_json
    return reader(path, classes, sizes, on_problem)


def _read_cue_json(
    path: str, classes: Sequence[str], sizes: Mapping[str, Size] | None, on_problem: OnProblem
) -> dict[str, PointCues]:
    data = load_json(path, {**IMAGE_LISTS, "points": ("image_id", "category_id", "point")})
    contiguous = category_indices(path, data["categories"], classes)
    images = {image["id"]: image for image in data["images"]}
    cues: dict[int, list[Cue]] = {image_id: [] for image_id in images}
    for number, entry in enumerate(data["points"]):
        try:
            cue = _cue_of(f"{path}: points[{number}]", entry, images, contiguous)
        except InputError as problem:
            on_problem(problem)
        else:
            cues[entry["image_id"]].append(cue)
    by_stem = {}
    for image_id, image in images.items():
        stem = Path(image["file_name"]).stem
        if stem in by_stem:
            raise InputError(f"{path}: two images are called {stem!r}; weak labels go by that name")
        size = _agreed_size(path, image, (sizes or {}).get(stem), on_problem)
        where = f"{path}: image {image['file_name']}"
        by_stem[stem] = _to_cues(where, cues[image_id], size, on_problem)
    return by_stem


def _cue_of(where: str, entry: dict, images: Mapping, contiguous: Mapping[int, int]) -> Cue:
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
    path: str, classes: Sequence[str], sizes: Mapping[str, Size] | None, on_problem: OnProblem
) -> dict[str, PointCues]:
    cues = {}
    for file in sorted(Path(path).glob("*.txt")):
        if sizes is None or file.stem in sizes:
            size = None if sizes is None else sizes[file.stem]
            lines = _read_cue_lines(file, len(classes), on_problem)
            cues[file.stem] = _to_cues(str(file), lines, size, on_problem)
    return cues


def _read_cue_lines(file: Path, num_classes: int, on_problem: OnProblem) -> Iterable[Cue]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            x, y, label, score = (float(word) for word in (*line.split(), GIVEN_SCORE)[:4])
        except ValueError:
            reason = f"expected 'x y class [score]', got {line!r}"
        else:
            if label in range(num_classes):
                yield x, y, int(label), score
                continue
            reason = f"class {label:g}, expected 0..{num_classes - 1}"
        on_problem(InputError(f"{file}, line {number}: {reason}"))


def _to_cues(
    where: str, cues: Iterable[Cue], size: Size | None, on_problem: OnProblem
) -> PointCues:
    inside = []
    for cue in cues:
        x, y = cue[:2]
        if size is None or (0 <= x <= size[1] - 1 and 0 <= y <= size[0] - 1):
            inside.append(cue)
            continue
        line = (
            f"{where}: point (x, y) = ({x:g}, {y:g}) is outside the image of "
            f"{size[0]}x{size[1]} pixels (height x width)"
        )
        on_problem(InputError(line))
    if not inside:
        return PointCues.empty()
    xs, ys, classes, scores = zip(*inside, strict=True)
    yx = torch.tensor([ys, xs], dtype=torch.float32).T.contiguous()
    return PointCues(yx, torch.tensor(classes), torch.tensor(scores, dtype=torch.float32))
