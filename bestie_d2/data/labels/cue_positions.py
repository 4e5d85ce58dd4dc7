"""Where cues lie on the weak maps: on their class, or beside it, as where their numbers mean
something else than pixels (x, y)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.kept_classes import MAP_KEPT
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, PointCues, wsss_index

MAPS_READ = 100  # of a data set before a training, spread over it
LEAST_ON_CLASS = 0.05  # share of given points; with fewer nearly nothing would be labeled
CLEARLY_MORE = 0.2  # share of all points that another reading has to bring onto their class
FEWEST_MORE = 2  # points, as well
PERCENT = 100.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CuePositions:
    """Counts over any number of images; they add up.

    Attributes:
        points: all of them.
        on_class, on_background, on_other, on_unknown: by what their pixel of the weak map holds.
        swapped, flipped, percent: points that would lie on their class, were they (y, x), with y
            from below, or in percent of the sides.
        above_100: points with a coordinate that is no percentage.
    """

    points: int = 0
    on_class: int = 0
    on_background: int = 0
    on_other: int = 0
    on_unknown: int = 0
    swapped: int = 0
    flipped: int = 0
    percent: int = 0
    above_100: int = 0

    def __add__(self, other: CuePositions) -> CuePositions:
        return CuePositions(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def describe(self) -> str:
        return (
            f"of {self.points} cues {self.on_class} lie on the map of their class, "
            f"{self.on_background} on background, {self.on_other} on another class, "
            f"{self.on_unknown} on unknown (255)"
        )

    @property
    def nearly_none(self) -> bool:
        """Whether so few lie on their class that nearly nothing would be labeled."""
        return self.on_class < LEAST_ON_CLASS * self.points

    @property
    def hint(self) -> str:
        """What the coordinates seem to be, if not pixels (x, y); else ""."""
        most, question = max(
            (self.swapped, "are x and y swapped?"),
            (self.flipped, "is y counted from below?"),
            (0 if self.above_100 else self.percent, "are they in percent of the sides?"),
        )
        clearly = most - self.on_class >= max(FEWEST_MORE, CLEARLY_MORE * self.points)
        return f"{most} would lie there with another reading: {question}" if clearly else ""

    @property
    def remark(self) -> str:
        """What a person should look at, if anything."""
        if self.hint:
            return f"{self.describe()}; {self.hint}"
        return self.describe() if self.points and self.nearly_none else ""


def positions_of(cues: PointCues, index_map: np.ndarray) -> CuePositions:
    """Where the cues of an image, all inside of it, lie on its (H, W) map of WSSS indices."""
    if not len(cues):
        return CuePositions()
    yx = cues.yx.numpy().astype(np.float64)
    wanted = wsss_index(cues.classes).numpy()
    height, width = index_map.shape
    found = _values_at(index_map, yx)
    on_class = found == wanted

    def fitting(moved: np.ndarray) -> int:
        return int((_values_at(index_map, moved) == wanted).sum())

    return CuePositions(
        points=len(cues),
        on_class=int(on_class.sum()),
        on_background=int((found == BACKGROUND_INDEX).sum()),
        on_other=int((~on_class & ~np.isin(found, (BACKGROUND_INDEX, IGNORE_INDEX))).sum()),
        on_unknown=int((found == IGNORE_INDEX).sum()),
        swapped=fitting(yx[:, ::-1]),
        flipped=fitting(np.stack([height - 1 - yx[:, 0], yx[:, 1]], axis=1)),
        percent=fitting(yx * (height / PERCENT, width / PERCENT)),
        above_100=int((yx > PERCENT).any(axis=1).sum()),
    )


def _values_at(index_map: np.ndarray, yx: np.ndarray) -> np.ndarray:
    """What the pixels hold that (N, 2) points lie on; -1 outside of the map."""
    pixels = np.floor(yx + 0.5).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < index_map.shape)).all(axis=1)
    values = np.full(len(yx), -1, dtype=np.int64)
    values[inside] = index_map[tuple(pixels[inside].T)]
    return values


def check_given_points(name: str, records: Sequence[Mapping], num_classes: int) -> None:
    """Refuse given points, the ``cues`` of a data set's records, of which hardly any lies on its
    class: nothing would be labeled. At most ``MAPS_READ`` weak maps are read, spread over the set.
    """
    with_points = [record for record in records if len(record["cues"])]
    if not with_points:
        raise InputError(f"data set {name!r}: none of its {len(records)} images has a point")
    chosen = np.unique(np.linspace(0, len(with_points) - 1, MAPS_READ).round().astype(int))
    total, useless = CuePositions(), []
    for record in (with_points[index] for index in chosen):
        size = (record["height"], record["width"])
        path, kept = record["sem_seg_file_name"], record.get(MAP_KEPT)
        index_map = read_weak_sem_seg(path, num_classes, size, kept=kept)
        found = positions_of(record["cues"], index_map)
        total += found
        useless += [record["file_name"]] * found.nearly_none
    if total.nearly_none:
        hint = f"; {total.hint}" if total.hint else ""
        raise InputError(
            f"data set {name!r}: nearly nothing would be labeled: {total.describe()} "
            f"({len(chosen)} of {len(records)} images looked at; look at {useless[0]} beside its "
            f"weak map){hint}"
        )
    if total.remark:
        logger.warning("%s: %s", name, total.remark)
