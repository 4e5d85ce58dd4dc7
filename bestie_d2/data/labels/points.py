"""Points of an image as they were given, brought to where they are meant: (x, y) as in files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bestie_d2.data.labels.readers import Size
from bestie_d2.errors import InputError

GIVEN_SCORE = 1.0  # score of a point that a person gave
MARGIN = 1.0  # pixels: points so far outside of the border pixels' centers are moved to these
CLOSEST = 1.0  # pixels: nearer points of one class are one
SMALLEST_SIDE = 8  # pixels: on smaller images points within 0 to 1 are nothing special
PERCENT = 100.0
FEWEST_WHOLE = 4  # points at 0 and 1 alone that are taken for parts of the sides

Cue = tuple[float, float, int, float]  # x, y, class, score: the order of files


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
