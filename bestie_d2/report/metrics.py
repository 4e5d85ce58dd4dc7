"""What a training measured as it went: curves out of Detectron2's ``metrics.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

Curve = list[tuple[int, float]]  # (iteration, value) by rising iteration

ITERATION = "iteration"
MAX_POINTS = 120  # of a drawn curve, however long the training


def read_lines(path: str) -> list[dict]:
    """The JSON objects of a file, one a line; none without the file.

    A line that is none, such as the last one of a training that was killed, is passed over.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [_parse(line) for line in file]
    except OSError:
        return []
    return [line for line in lines if isinstance(line, dict)]


def _parse(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def read_curves(path: str) -> dict[str, Curve]:
    """The finite values of everything that was measured, by name.

    Where a training was interrupted and went over some iterations again, what it wrote last counts.
    """
    curves: dict[str, dict[int, float]] = {}
    for line in read_lines(path):
        if not isinstance(line.get(ITERATION), int):
            continue
        for key, value in line.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                curves.setdefault(key, {})[line[ITERATION]] = float(value)
    return {key: sorted(points.items()) for key, points in curves.items()}


def last_values(path: str) -> Mapping[str, float]:
    """The last line of a file of measurements."""
    lines = read_lines(path)
    return lines[-1] if lines else {}


def thinned(curve: Sequence[tuple[int, float]]) -> Curve:
    """At most ``MAX_POINTS`` points, evenly chosen, the last one among them."""
    step = math.ceil(len(curve) / MAX_POINTS)
    return list(curve[::-1][:: max(step, 1)][::-1])
