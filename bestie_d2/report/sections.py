"""The sections of the report, from what a run has left, and the page that holds them."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader

from bestie_d2.data.labels.cue_files import GIVEN_SCORE
from bestie_d2.engine.label_progress import PSEUDO, REFINED
from bestie_d2.engine.trainer import METRICS_FILE
from bestie_d2.evaluation.label_quality import BINS
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.stages import HEADLINES, WEAK_COMPONENTS
from bestie_d2.report import run_files
from bestie_d2.report.charts import Series, bar_chart, line_chart
from bestie_d2.report.image_grid import grid_section
from bestie_d2.report.run_files import Block, Curve, Run, attempt, thinned
from bestie_d2.storage.files import make_folder, replacing

Cell = str | int | float | None

RESULTS = {  # columns of the results, and the measurements they show
    "COCO AP": "segm/AP",
    "AP50": "segm/AP50",
    "AP75": "segm/AP75",
    "VOC mAP25": "voc_instance/mAP25",
    "mAP50": "voc_instance/mAP50",
    "mAP70": "voc_instance/mAP70",
    "mAP75": "voc_instance/mAP75",
}
SETTINGS = {  # columns of the configuration, and the keys they show
    "model": "MODEL.META_ARCHITECTURE",
    "backbone": "MODEL.BACKBONE.NAME",
    "device": "MODEL.DEVICE",
    "iterations": "SOLVER.MAX_ITER",
    "images a step": "SOLVER.IMS_PER_BATCH",
    "learning rate": "SOLVER.BASE_LR",
    "seed": "SEED",
}


class Mark(NamedTuple):
    """A cue or a label: what the counts need of it."""

    image: Hashable
    class_name: str
    score: float


def report_path(pipeline: Pipeline) -> Path:
    """Where a pipeline's report is."""
    return Path(pipeline.output, "report.html")


def write_report(pipeline: Pipeline) -> Path:
    """Write ``report.html`` into a pipeline's output, whole or not at all; returns its path.

    Shows what is there and says what is not, or what is wrong with it, at any time: before a run,
    while stages are made and when one has failed. It holds a fixed number of pictures and points,
    whatever the size of the data set and the length of the trainings.

    Raises:
        InputError: it cannot be written.
    """
    run = Run(pipeline)
    sections = {
        "Results": results_section,
        "Chain": chain_section,
        "Curves": curves_section,
        "Cues": cues_section,
        "Pseudo labels": pseudo_labels_section,
        "Pictures": grid_section,
        "Configuration": configuration_section,
    }
    done = sum(stage.manifest is not None for stage in run.stages)
    lead = (
        f"Instance masks from {pipeline.supervision} alone: trained on {pipeline.train_set}, "
        f"tested on {pipeline.test_set}. {done} of {len(run.stages)} stages are finished. "
        f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}."
    )
    blocks = {title: attempt("This part", build, run) for title, build in sections.items()}
    path = report_path(pipeline)
    make_folder(path.parent, "output")
    with replacing(path) as file:
        file.write(page(f"Run of {pipeline.name}", lead, blocks))
    return path


def page(title: str, lead: str, sections: Mapping[str, Sequence[Block]]) -> str:
    """The whole page; the template escapes every text in it."""
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=loader, autoescape=True).get_template("page.html")
    return template.render(title=title, lead=lead, sections=sections)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Block:
    """A table whose first column titles the rows; columns of numbers are right-aligned, floats have
    one decimal, None is a dash."""
    rows = list(rows)
    columns = [[row[i] for row in rows if row[i] is not None] for i in range(len(head))]
    numbers = [bool(cells) and all(map(_is_number, cells)) for cells in columns]
    return ("table", list(zip(head, numbers, strict=True)), [list(map(_shown, r)) for r in rows])


def _is_number(cell: Cell) -> bool:
    try:
        return math.isfinite(float(cell))  # type: ignore[arg-type]  # None was left out
    except ValueError:
        return False


def _shown(cell: Cell) -> str:
    if cell is None or isinstance(cell, str):
        return cell or "–"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.1f}"


def results_section(run: Run) -> list[Block]:
    """The figures of everything that was evaluated on the test set, in percent."""
    evaluated = run.finished("evaluate")
    if not evaluated:
        return [("text", "Not evaluated yet.")]
    rows = []
    for owner in (WEAK_COMPONENTS, *(stage.name for stage in run.stages)):
        found = run_files.last_values(os.path.join(evaluated[-1].folder, owner, METRICS_FILE))
        if found:
            title = "given weak maps' components (free)" if owner == WEAK_COMPONENTS else owner
            values = [found.get(key, math.nan) for key in RESULTS.values()]
            rows.append([title, *(float(v) if math.isfinite(v) else None for v in values)])
    note = f"On {run.pipeline.test_set}, in percent."
    return [table(["trained stage", *RESULTS], rows), ("text", note, True)]


def chain_section(run: Run) -> list[Block]:
    """A row for each stage: how far it is, how long it took, what came out."""
    rows: list[list[Cell]] = []
    notes: list[Block] = []
    for stage in run.stages:
        manifest = stage.manifest or {}
        reads = ", ".join(run.pipeline.inputs_of(stage.name)) or None
        took = round(manifest["seconds"]) if manifest else None
        rows.append([stage.name, reads, stage.state, took, manifest.get("text")])
        if stage.kept:
            kept = f"What {stage.name} had made before is kept in {', '.join(stage.kept)}."
            notes.append(("text", kept, True))
    for name, problem in run.problems.items():
        notes.append(("text", f"{name} cannot be run as it is configured: {problem}"))
    return [table(["stage", "reads", "state", "seconds", "figures"], rows), *notes]


def curves_section(run: Run) -> list[Block]:
    """The charts of each training that has written something down: losses, evaluations (paper:
    Figure 7), and how right the labels of BESTIE are (Figure 6)."""
    trainings = {stage.name: stage.curves() for stage in run.stages if stage.config}
    trainings = {name: curves for name, curves in trainings.items() if curves}
    if not trainings:
        return [("text", "No training has written anything down yet.")]
    losses, evaluations, labels, once = [], [], [], []
    for name, curves in trainings.items():
        keys = ["total_loss", *sorted(key for key in curves if key.startswith("loss_"))]
        names = {key: key.removeprefix("loss_").replace("_", " ") for key in keys}
        losses.append(_chart(name, _series(curves, names), "loss", log=True))
        measured = _series(curves, HEADLINES)
        if any(len(one.points) > 1 for one in measured):
            evaluations.append(_chart(name, measured, "percent"))
        else:
            once.append(name)
        labels += _label_charts(name, curves)
    why = (
        f"No curve of {', '.join(once)}: evaluated once or never so far. TEST.EVAL_PERIOD in its "
        "configuration evaluates it every so many iterations."
    )
    return [
        ("heading", "Losses"),
        ("text", LOSSES, True),
        ("charts", losses),
        ("heading", "Evaluations while training"),
        *([("text", f"On {run.pipeline.test_set}.", True)] if evaluations else []),
        ("charts", evaluations),
        *([("text", why)] if once else []),
        ("heading", "Labels that BESTIE learns from"),
        ("text", LABELS, True) if labels else ("text", NO_LABELS),
        ("charts", labels),
    ]


LOSSES = (
    "Losses are medians over 20 iterations, as Detectron2 writes them down; long curves are "
    "thinned. Values of 0 have no place on a logarithmic axis."
)
LABELS = (
    "Counted on TEST.LABEL_PROGRESS.DATASET, whose truth no training reads. Pseudo labels are what "
    "semantic knowledge transfer makes once and for all; refined labels are the network's grouping "
    "of the weak maps."
)
NO_LABELS = (
    "No training has measured its labels against the truth: for that, TEST.LABEL_PROGRESS.DATASET "
    "in a configuration of BESTIE names a set with truth."
)


def _series(curves: Mapping[str, Curve], names: Mapping[str, str]) -> list[Series]:
    """Those of the curves that were measured, under these names."""
    return [Series(name, thinned(curves[key])) for key, name in names.items() if key in curves]


def _chart(
    title: str, series: list[Series], y_title: str, note: str = "", log: bool = False
) -> tuple:
    return title, line_chart(series, x_title="iteration", y_title=y_title, log=log), note


def _label_charts(name: str, curves: Mapping[str, Curve]) -> list[tuple]:
    """True positives, and precision and recall, of one training's pseudo and refined labels."""
    if f"{PSEUDO}/objects" not in curves:
        return []
    series = {
        measure: [  # pseudo labels are made before training: a level, no curve
            one._replace(level=kind == PSEUDO)
            for kind in (REFINED, PSEUDO)
            for one in _series(
                curves, {f"{kind}/{measure}": f"{kind}, {measure}".replace("_", " ")}
            )
        ]
        for measure in ("true_positives", "precision", "recall")
    }
    note = f"The images have {curves[f'{PSEUDO}/objects'][-1][1]:.0f} objects."
    shares = series["precision"] + series["recall"]
    return [
        _chart(f"{name}: labels that are right", series["true_positives"], "true positives", note),
        _chart(f"{name}: precision and recall of the labels", shares, "percent"),
    ]


def cues_section(run: Run) -> list[Block]:
    """The cues that were found or given; those that score above the threshold are used."""
    labels, threshold = run.labels, run.cfg.DATASETS.CUE_THRESHOLD
    cues = [
        Mark(name, labels.class_names[class_id], score)
        for name, points in labels.cues_by_name.items()
        for class_id, score in zip(points.classes.tolist(), points.scores.tolist(), strict=True)
    ]
    if not cues:
        return [("text", "No cues yet.")]
    used = [cue for cue in cues if cue.score > threshold]
    images = len(labels.records)
    text = (
        f"{len(cues):,} cues in {images:,} images; the {len(used):,} that score above "
        f"{threshold:g} are used in training."
    )
    return [("text", text), *statistics("cues", cues, used, labels.class_names, images)]


def pseudo_labels_section(run: Run) -> list[Block]:
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
    charts = [_count_chart(used, images, what if used is marks else f"used {what}")]
    if any(mark.score != GIVEN_SCORE for mark in marks):
        charts.insert(0, _score_chart(marks, what))
    return [table(head, rows), ("charts", charts)]


def _score_chart(marks: Sequence[Mark], what: str) -> tuple:
    counts, edges = np.histogram([mark.score for mark in marks], bins=BINS, range=(0, 1))
    bars = [(f"{start:.1f}", count) for start, count in zip(edges, counts.tolist(), strict=False)]
    chart = bar_chart(bars, x_title="score, from this number on", y_title=what)
    return f"Scores of {what}", chart, ""


def _count_chart(marks: Sequence[Mark], images: int, what: str) -> tuple:
    """How many images have how many marks."""
    numbers = list(Counter(mark.image for mark in marks).values())
    numbers += [0] * (images - len(numbers))
    width = math.ceil((max(numbers, default=0) + 1) / BINS)
    counts = np.bincount(np.array(numbers, int) // width, minlength=1).tolist()
    bars = [(str(number * width), count) for number, count in enumerate(counts)]
    x_title = f"{what} in an image" + (", from this number on" if width > 1 else "")
    chart = bar_chart(bars, x_title=x_title, y_title="images")
    return f"{what.capitalize()} in an image", chart, ""


def configuration_section(run: Run) -> list[Block]:
    """Pipeline, versions and seeds, and of each training its main settings and whole file."""
    pipeline = run.pipeline
    manifests = [stage.manifest for stage in run.stages if stage.manifest]
    versions = manifests[-1]["versions"] if manifests else {}  # of the last in the chain
    facts: list[list[Cell]] = [
        ["supervision", pipeline.supervision],
        ["training set", pipeline.train_set],
        ["test set", pipeline.test_set],
        ["versions", ", ".join(f"{name} {number}" for name, number in versions.items())],
    ]
    stages = []
    for name, entry in pipeline.stages.items():
        pairs = zip(entry.overrides[::2], entry.overrides[1::2], strict=True)
        overrides = ", ".join(f"{key} {value}" for key, value in pairs)
        threshold = f"{entry.score_threshold:g}" if entry.score_threshold else None
        stages.append([name, entry.config, entry.weights_from, threshold, overrides])
    head = ["stage", "configuration file", "starts from", "score threshold", "overrides"]
    blocks = [table(["pipeline", pipeline.name], facts), ("heading", "Stages"), table(head, stages)]
    trainings = [stage for stage in run.stages if stage.config]
    if trainings:
        rows = [[s.name, *_values(s.settings(), SETTINGS.values())] for s in trainings]
        blocks += [("heading", "Trainings"), table(["stage", *SETTINGS], rows)]
        blocks += [("details", f"Whole configuration of {s.name}", s.config) for s in trainings]
    return blocks


def _values(settings: Mapping, keys: Iterable[str]) -> list[Cell]:
    values = (settings.get(key) for key in keys)
    return [f"{value:g}" if isinstance(value, float) else value for value in values]
