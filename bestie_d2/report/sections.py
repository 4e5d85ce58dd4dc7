"""The report: its sections, from what a run has left."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bestie_d2.engine.label_progress import PSEUDO, REFINED
from bestie_d2.engine.trainer import METRICS_FILE
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.stages import HEADLINES, WEAK_COMPONENTS
from bestie_d2.report.charts import Chart, Series, line_chart
from bestie_d2.report.failure_table import HEAD, failure_rows
from bestie_d2.report.label_counts import cues, pseudo_labels
from bestie_d2.report.page import Block, Cell, attempt, page, table
from bestie_d2.report.picture_grid import pictures
from bestie_d2.report.run_files import Curve, Run, read_lines, thinned
from bestie_d2.storage.files import make_folder, replacing

RESULTS = {  # columns of the results, and the measurements they show
    "COCO AP": "segm/AP",
    "AP50": "segm/AP50",
    "AP75": "segm/AP75",
    "VOC mAP25": "voc_instance/mAP25",
    **{name: f"voc_instance/{name}" for name in ("mAP50", "mAP70", "mAP75")},
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
KINDS = (REFINED, PSEUDO)  # of labels that BESTIE learns from


def report_path(pipeline: Pipeline) -> Path:
    """Where a pipeline's report is."""
    return Path(pipeline.output, "report.html")


def write_report(pipeline: Pipeline) -> Path:
    """Write ``report.html`` into a pipeline's output, whole or not at all; returns its path.

    At any time: it shows what is there and says what is not, or what is wrong with it, with a fixed
    number of pictures and points. An InputError says why it cannot be written.
    """
    run, path = Run(pipeline), report_path(pipeline)
    done = sum(stage.manifest is not None for stage in run.stages)
    lead = (
        f"Instance masks from {pipeline.supervision} alone: trained on {pipeline.train_set}, "
        f"tested on {pipeline.test_set}. {done} of {len(run.stages)} stages are finished. "
        f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}."
    )
    titles = {part.__name__.replace("_", " ").capitalize(): part for part in SECTIONS}
    blocks = {title: attempt("This part", part, run) for title, part in titles.items()}
    make_folder(path.parent, "output")
    with replacing(path) as file:
        file.write(page(f"Run of {pipeline.name}", lead, blocks))
    return path


def results(run: Run) -> list[Block]:
    """The figures of everything that was evaluated on the test set, in percent."""
    evaluated = run.finished("components", "evaluate")
    if not evaluated:
        return [("text", "Not evaluated yet.")]
    titles = {WEAK_COMPONENTS: "given weak maps' components (free)"}
    titles |= {stage.name: stage.name for stage in run.stages}
    rows: list[list[Cell]] = []
    for stage, (name, title) in itertools.product(evaluated, titles.items()):
        free = "components of its maps (free)" if stage.kind == "components" else ""
        for measured in read_lines(stage.folder, name, METRICS_FILE)[-1:]:
            rows.append([f"{title} {free}".strip(), *map(measured.get, RESULTS.values())])
    note = ("text", f"On {run.pipeline.test_set}, in percent.", True)
    return [table(["trained stage", *RESULTS], rows), note]


def failures(run: Run) -> list[Block]:
    """What became of true objects and of what the stages found, and what to mend."""
    rows = failure_rows(run)
    return [table(HEAD, rows), ("failures_note",)] if rows else [("text", "Not counted yet.")]


def chain(run: Run) -> list[Block]:
    """A row for each stage: how far it is, how long it took, what came out."""
    rows: list[list[Cell]] = []
    notes: list[Block] = []
    for stage in run.stages:
        manifest = stage.manifest or {}
        reads = ", ".join(run.pipeline.inputs_of(stage.name))
        took = round(manifest["seconds"]) if manifest else None
        rows.append([stage.name, reads, stage.state, took, manifest.get("text")])
        if stage.kept:
            kept = f"What {stage.name} had made before is kept in {', '.join(stage.kept)}."
            notes.append(("text", kept, True))
    for name, problem in run.problems.items():
        notes.append(("text", f"{name} cannot be run as it is configured: {problem}"))
    return [table(["stage", "reads", "state", "seconds", "figures"], rows), *notes]


def curves(run: Run) -> list[Block]:
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
        losses.append(line_chart(name, _series(curves, names), "loss", log=True))
        measured = _series(curves, HEADLINES)
        if any(len(one.points) > 1 for one in measured):
            evaluations.append(line_chart(name, measured, "percent"))
        else:
            once.append(name)
        labels += _label_charts(name, curves)
    return [("curves", run.pipeline.test_set, losses, evaluations, ", ".join(once), labels)]


def _series(curves: Mapping[str, Curve], names: Mapping[str, str]) -> list[Series]:
    """Those of the curves that were measured, under these names; pseudo labels are made before
    training: a level."""
    found = {key: name for key, name in names.items() if key in curves}
    return [Series(found[key], thinned(curves[key]), key.startswith(PSEUDO)) for key in found]


def _label_charts(name: str, curves: Mapping[str, Curve]) -> list[Chart]:
    """True positives, and precision and recall, of one training's pseudo and refined labels."""
    if f"{PSEUDO}/objects" not in curves:
        return []
    true_positives, precision, recall = (
        _series(curves, {f"{kind}/{key}": f"{kind}, {key}".replace("_", " ") for kind in KINDS})
        for key in ("true_positives", "precision", "recall")
    )
    note = f"The images have {curves[f'{PSEUDO}/objects'][-1][1]:.0f} objects."
    right = line_chart(f"{name}: labels that are right", true_positives, "true positives")
    shares = f"{name}: precision and recall of the labels"
    return [right._replace(note=note), line_chart(shares, precision + recall, "percent")]


def configuration(run: Run) -> list[Block]:
    """Pipeline, versions and seeds, and of each training its main settings and whole file."""
    pipeline = run.pipeline
    manifests = [stage.manifest for stage in run.stages if stage.manifest]
    versions = manifests[-1]["versions"] if manifests else {}  # of the last in the chain
    facts = {
        "supervision": pipeline.supervision,
        "training set": pipeline.train_set,
        "test set": pipeline.test_set,
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
    stages = []
    for name, entry in pipeline.stages.items():
        pairs = zip(entry.overrides[::2], entry.overrides[1::2], strict=True)
        overrides = ", ".join(f"{key} {value}" for key, value in pairs)
        threshold = f"{entry.score_threshold:g}" if entry.score_threshold else None
        stages.append([name, entry.config, entry.weights_from, threshold, overrides])
    head = ["stage", "configuration file", "starts from", "score threshold", "overrides"]
    facts_table = table(["pipeline", pipeline.name], facts.items())
    blocks = [facts_table, ("heading", "Stages"), table(head, stages)]
    trainings = [stage for stage in run.stages if stage.config]
    rows: list[list[Cell]] = []
    for stage in trainings:
        values = map(stage.settings().get, SETTINGS.values())
        rows.append([stage.name, *(f"{v:g}" if isinstance(v, float) else v for v in values)])
    if trainings:
        blocks += [("heading", "Trainings"), table(["stage", *SETTINGS], rows)]
    return blocks + [("details", f"Whole configuration of {s.name}", s.config) for s in trainings]


# In this order, titled by their names.
SECTIONS = (results, failures, chain, curves, cues, pseudo_labels, pictures, configuration)
