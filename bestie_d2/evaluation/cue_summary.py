"""What cues are good for: counts by class and image, and how weak components come out of them.

A component of a weak map becomes a pseudo label when exactly one cue of its class lies on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from tabulate import tabulate

from bestie_d2.evaluation.weak_components import MIN_AREA
from bestie_d2.ops.components import connected_components
from bestie_d2.structures import PointCues, wsss_index

PERCENT = 100.0
MANY = 3  # cues in an image from which on images are counted together
BEST = "<- most components with exactly one cue"
COLUMNS = ("images", "cues", "none", "one", "several")  # of the counts of a class


@dataclass
class CueSummary:
    """Counts over any number of images; they add up.

    Attributes:
        by_class: (C, 5) int64. ``images`` that have the tag; ``cues`` above the threshold;
            8-connected components of the weak maps with ``none``, ``one`` and ``several`` of them.
        images_with: (4,) int64, images with 0, 1, 2, and 3 or more cues above the threshold.
        without_any: images without a single cue, however low its score.
        with_map: images with a weak map.
    """

    by_class: np.ndarray
    images_with: np.ndarray = field(default_factory=lambda: np.zeros(MANY + 1, dtype=np.int64))
    without_any: int = 0
    with_map: int = 0

    @staticmethod
    def empty(num_classes: int) -> CueSummary:
        return CueSummary(np.zeros((num_classes, len(COLUMNS)), dtype=np.int64))

    def add(self, counts: dict) -> None:
        """Add the counts of one image, as :func:`count_cues` returns them."""
        cues = 0
        for row in counts["classes"]:
            self.by_class[row[0]] += row[1:]
            cues += row[1 + COLUMNS.index("cues")]
        self.images_with[min(cues, MANY)] += 1
        self.without_any += counts["written"] == 0
        self.with_map += counts["has_map"]

    @property
    def images(self) -> int:
        return int(self.images_with.sum())

    @property
    def cues(self) -> int:
        return int(self.by_class[:, COLUMNS.index("cues")].sum())

    @property
    def components(self) -> tuple[int, int, int]:
        """Components with no, exactly one and several cues."""
        none, one, several = self.by_class[:, COLUMNS.index("none") :].sum(axis=0).tolist()
        return none, one, several

    def describe(self, threshold: float) -> list[str]:
        """A line for each thing that was counted."""
        images = max(self.images, 1)
        shares = " / ".join(f"{PERCENT * n / images:.1f} %" for n in self.images_with)
        lines = [
            f"cues above {threshold:g}: {self.cues} in {self.images} images, "
            f"{self.cues / images:.2f} an image",
            f"images with 0 / 1 / 2 / {MANY} or more of them: {shares}",
            f"images without any cue, however weak: {self.without_any}",
        ]
        total = sum(self.components)
        if total:
            shares = " / ".join(f"{PERCENT * n / total:.1f} %" for n in self.components)
            lines.append(
                f"weak components with none / exactly one / several of them: {shares} of {total} "
                "(those with exactly one become pseudo labels)"
            )
        if 0 < self.with_map < self.images:
            lines.append(f"weak maps that can be used: {self.with_map} of {self.images}")
        return lines

    def table(self, class_names: Sequence[str]) -> str:
        """The counts of each class that occurs, as a table."""
        rows = []
        for name, (images, cues, *components) in zip(
            class_names, self.by_class.tolist(), strict=True
        ):
            if images:
                total = sum(components)
                share = PERCENT * components[1] / total if total else None
                rows.append([name, images, cues, cues / images, *components, share])
        headers = ["class", "images", "cues", "cues/image", "none", "one", "several", "one in %"]
        return tabulate(rows, headers=headers, floatfmt=("", "", "", ".2f", "", "", "", ".1f"))


def compare_summaries(summaries: Mapping[float, CueSummary], name: str) -> str:
    """A row for each value of what was varied; the one with most pseudo labels is pointed out.

    Args:
        summaries: by value.
        name: of what was varied.
    """
    most = max((summary.components[1] for summary in summaries.values()), default=0)
    rows = []
    for value, summary in summaries.items():
        without = PERCENT * summary.images_with[0] / max(summary.images, 1)
        mark = BEST if summary.components[1] == most > 0 else ""
        rows.append(
            [value, summary.cues, summary.cues / max(summary.images, 1), without]
            + [*summary.components, mark]
        )
    headers = [name, "cues", "cues/image", "images without in %", "none", "one", "several", ""]
    return tabulate(rows, headers=headers, floatfmt=("g", "", ".2f", ".1f"))


def count_cues(
    cues: PointCues,
    image_classes: Sequence[int],
    *,
    threshold: float,
    index_map: np.ndarray | None = None,
    min_area: int = MIN_AREA,
) -> dict:
    """The counts of one image, as a JSON value for :meth:`CueSummary.add`.

    Args:
        cues: all that were found.
        image_classes: class ids ``0..C-1`` of the tags.
        threshold: cues that score higher count.
        index_map: (H, W) WSSS indices of the weak map, if there is one.
        min_area: smaller components of it are passed over, in pixels.

    Returns:
        ``classes``, a row ``[class_id, images, cues, none, one, several]`` for each tag, and
        ``written``, the number of all cues; ``has_map``.
    """
    sure = cues[cues.scores > threshold]
    rows = []
    for class_id in image_classes:
        points = sure[sure.classes == class_id]
        components = (0, 0, 0)
        if index_map is not None:
            components = _components_by_cues(index_map == wsss_index(class_id), points, min_area)
        rows.append([int(class_id), 1, len(points), *components])
    return {"classes": rows, "written": len(cues), "has_map": index_map is not None}


def _components_by_cues(mask: np.ndarray, points: PointCues, min_area: int) -> tuple[int, int, int]:
    """How many 8-connected components of a (H, W) bool mask hold no, one and several points."""
    labels, boxes, _ = connected_components(mask, connectivity=8)
    pixels = np.array(points.pixels(), dtype=np.int64).reshape(-1, 2)
    held = np.bincount(labels[pixels[:, 0], pixels[:, 1]], minlength=len(boxes) + 1)[1:]
    held = held[boxes[:, cv2.CC_STAT_AREA] >= min_area]
    return int((held == 0).sum()), int((held == 1).sum()), int((held > 1).sum())
