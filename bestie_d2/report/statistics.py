"""Counts of cues and pseudo labels: by class, by score, by image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from bestie_d2.data.labels.cue_files import GIVEN_SCORE
from bestie_d2.evaluation.label_quality import BINS
from bestie_d2.pipeline.stages import shown
from bestie_d2.report.charts import bar_chart
from bestie_d2.report.page import Cell, figure, paragraph, side_by_side, table

SHARES = ("precision", "recall")  # what an export measures in percent where truth is known


@dataclass(frozen=True)
class Mark:
    """A cue or a label: what the counts need of it."""

    image: Hashable
    class_name: str
    score: float


def cue_statistics(
    cues: Sequence[Mark], class_names: Sequence[str], images: int, threshold: float
) -> list[str]:
    """Cues of a training set.

    Args:
        images: how many the set has.
        threshold: cues that score higher are used.
    """
    used = [cue for cue in cues if cue.score > threshold]
    rows = []
    for name, found, own in _by_class(class_names, cues, used):
        rows.append([name, found, len(own), *_per_image(own)])
    head = ["class", "cues", "used", "images with used ones", "used in such an image"]
    text = (
        f"{len(cues):,} cues in {images:,} images; the {len(used):,} that score above "
        f"{threshold:g} are used in training."
    )
    charts = [_count_chart(used, images, "used cues")]
    if any(cue.score != GIVEN_SCORE for cue in cues):
        charts.insert(0, _score_chart(cues, "cues"))
    return [paragraph(text), table(head, rows), side_by_side(charts)]


def label_statistics(
    labels: Sequence[Mark], class_names: Sequence[str], images: int, figures: dict
) -> list[str]:
    """Exported pseudo labels of a training set.

    Args:
        images: how many the set has.
        figures: what the export measured.
    """
    rows = []
    for name, count, own in _by_class(class_names, labels, labels):
        mean = float(np.mean([label.score for label in own])) if own else None
        rows.append([name, count, *_per_image(own), None if mean is None else f"{mean:.2f}"])
    head = ["class", "labels", "images with labels", "labels in such an image", "mean score"]
    measured = [f"{name} {shown(figures[name])} %" for name in SHARES if name in figures]
    text = f"{len(labels):,} labels in {images:,} images."
    if measured:
        text += f" Against the truth: {', '.join(measured)}."
    charts = [_score_chart(labels, "labels"), _count_chart(labels, images, "labels")]
    return [paragraph(text), table(head, rows), side_by_side(charts)]


def _by_class(
    class_names: Sequence[str], marks: Sequence[Mark], used: Sequence[Mark]
) -> list[tuple[str, int, list[Mark]]]:
    """Name, number of marks, and used marks of each class; then of all of them."""
    found = [
        (
            name,
            sum(mark.class_name == name for mark in marks),
            [mark for mark in used if mark.class_name == name],
        )
        for name in class_names
    ]
    return [*found, ("all", len(marks), list(used))]


def _per_image(marks: Sequence[Mark]) -> list[Cell]:
    """How many images have a mark, and how many marks such an image has."""
    images = len({mark.image for mark in marks})
    return [images, len(marks) / images if images else None]


def _score_chart(marks: Sequence[Mark], what: str) -> str:
    counts, edges = np.histogram([mark.score for mark in marks], bins=BINS, range=(0, 1))
    bars = [(f"{start:.1f}", count) for start, count in zip(edges, counts.tolist(), strict=False)]
    chart = bar_chart(bars, x_title="score, from this number on", y_title=what)
    return figure(chart, f"Scores of {what}")


def _count_chart(marks: Sequence[Mark], images: int, what: str) -> str:
    """How many images have how many marks."""
    by_image = Counter(mark.image for mark in marks)
    most = max(by_image.values(), default=0)
    width = math.ceil((most + 1) / BINS)
    counts = [0] * (most // width + 1)
    for number in by_image.values():
        counts[number // width] += 1
    counts[0] += images - len(by_image)
    bars = [(str(place * width), count) for place, count in enumerate(counts)]
    from_on = "" if width == 1 else ", from this number on"
    chart = bar_chart(bars, x_title=f"{what} in an image{from_on}", y_title="images")
    return figure(chart, f"{what.capitalize()} in an image")
