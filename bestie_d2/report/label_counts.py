"""Sections of the report that count cues and labels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from bestie_d2.data.labels.cue_files import GIVEN_SCORE
from bestie_d2.report.charts import count_chart, score_chart
from bestie_d2.report.page import Block, Cell, table
from bestie_d2.report.run_files import Run


class Mark(NamedTuple):
    """A cue or a label: what the counts need of it."""

    image: Hashable
    class_name: str
    score: float


def cues(run: Run) -> list[Block]:
    """The cues that were found or given; those that score above the threshold are used."""
    labels, threshold = run.labels, run.cfg.DATASETS.CUE_THRESHOLD
    marks = [
        Mark(name, labels.class_names[class_id], score)
        for name, points in labels.cues_by_name.items()
        for class_id, score in zip(points.classes.tolist(), points.scores.tolist(), strict=True)
    ]
    if not marks:
        return [("text", "No cues yet.")]
    used = [cue for cue in marks if cue.score > threshold]
    images = len(labels.records)
    text = f"{len(marks):,} cues in {images:,} images; "
    text += f"the {len(used):,} that score above {threshold:g} are used in training."
    return [("text", text), *statistics("cues", marks, used, labels.class_names, images)]


def pseudo_labels(run: Run) -> list[Block]:
    """The labels that were exported last, and what the export measured."""
    if run.exported is None:
        return [("text", "Not exported yet.")]
    names, images = run.labels.class_names, len(run.exported)
    labels = [
        Mark(image_id, names[label["category_id"]], label["score"])
        for image_id, found in run.exported.items()
        for label in found
    ]
    figures = (run.finished("export")[-1].manifest or {})["figures"]
    known = {name: figures[name] for name in ("precision", "recall") if name in figures}
    measured = [f"{name} {'-' if v is None else f'{v:.1f}'} %" for name, v in known.items()]
    text = f"{len(labels):,} labels in {images:,} images."
    text += f" Against the truth: {', '.join(measured)}." if measured else ""
    return [("text", text), *statistics("labels", labels, labels, names, images)]


def statistics(
    what: str, marks: Sequence[Mark], used: Sequence[Mark], names: Sequence[str], images: int
) -> list[Block]:
    """Counts by class, score and image of the cues or labels of so many images."""
    rows: list[list[Cell]] = []
    for name in (*names, None):  # of each class, and of all
        found, kept = ([m for m in of if name in (m.class_name, None)] for of in (marks, used))
        having = len({mark.image for mark in kept})
        each = len(kept) / having if having else None
        score = f"{np.mean([mark.score for mark in found]):.2f}" if found else None
        rows.append([name or "all", len(found), len(kept), having, each, score])
    head = ["class", what, "used", "images with some", "in such an image", "mean score"]
    if used is marks:
        head, rows = head[:2] + head[3:], [row[:2] + row[3:] for row in rows]
    counted = what if used is marks else f"used {what}"
    charts = [count_chart([mark.image for mark in used], images, counted)]
    if any(mark.score != GIVEN_SCORE for mark in marks):
        charts.insert(0, score_chart([mark.score for mark in marks], what))
    return [table(head, rows), ("charts", charts)]
