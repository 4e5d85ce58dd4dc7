"""How good the weak map of one class is: against true masks, and against points."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from bestie_d2.ops.components import Component, class_components
from bestie_d2.structures import PointCues, wsss_index

PERCENT = 100.0


@dataclass(frozen=True)
class WeakMapCounts:
    """Counts over any number of images; they add up.

    Attributes:
        intersection, union: pixels of the class in the map and in the truth.
        points, points_inside: points of the class, and those of them on the map's class.
        none, one, several: 8-connected components of the class with so many points on them. The
            ones with exactly one become pseudo labels.
    """

    intersection: int = 0
    union: int = 0
    points: int = 0
    points_inside: int = 0
    none: int = 0
    one: int = 0
    several: int = 0

    def __add__(self, other: WeakMapCounts) -> WeakMapCounts:
        return WeakMapCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def describe(self) -> list[str]:
        """A line for each thing that was counted."""
        lines = []
        if self.union:
            share = PERCENT * self.intersection / self.union
            lines.append(f"foreground IoU with the truth: {share:.1f} %")
        if self.points:
            share = PERCENT * self.points_inside / self.points
            lines.append(f"points on the foreground: {share:.1f} % of {self.points}")
        components = self.none + self.one + self.several
        if components:
            shares = (PERCENT * n / components for n in (self.none, self.one, self.several))
            lines.append(
                "components with no / exactly one / several points: "
                f"{' / '.join(f'{share:.1f} %' for share in shares)} of {components}"
            )
        return lines


def count_against_truth(index_map: np.ndarray, truth: np.ndarray, class_id: int) -> WeakMapCounts:
    """Overlap of a class in (H, W) WSSS indices with the (H, W) bool union of its true masks."""
    found = index_map == wsss_index(class_id)
    return WeakMapCounts(intersection=int((found & truth).sum()), union=int((found | truth).sum()))


def count_against_points(index_map: np.ndarray, cues: PointCues, class_id: int) -> WeakMapCounts:
    """Where the points of a class lie on (H, W) WSSS indices; other classes' are passed over."""
    points = cues[cues.classes == class_id].pixels()
    components = class_components(index_map, [class_id], min_area=1)
    held = [_points_on(component, points) for component in components]
    return WeakMapCounts(
        points=len(points),
        points_inside=sum(held),
        none=sum(count == 0 for count in held),
        one=sum(count == 1 for count in held),
        several=sum(count > 1 for count in held),
    )


def _points_on(component: Component, points: list[tuple[int, int]]) -> int:
    return sum(component.contains(y, x) for y, x in points)
