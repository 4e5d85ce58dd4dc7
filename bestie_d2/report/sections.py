"""The sections of the report, from what a run has left, and the page that holds them."""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from bestie_d2.checks.training import check_trained_classes
from bestie_d2.data import EvaluationMapper, WeakInstanceMapper
from bestie_d2.data.labels.cue_files import GIVEN_SCORE
from bestie_d2.data.names import relative_name
from bestie_d2.engine.command_line import reason_of
from bestie_d2.engine.label_progress import PSEUDO, REFINED, taught_targets
from bestie_d2.engine.trainer import METRICS_FILE, load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.evaluation.label_quality import instances_of_targets
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.pictures import dataset
from bestie_d2.pictures.dataset import KnownLabels
from bestie_d2.pictures.overlays import KIND_COLORS, MaskSet
from bestie_d2.pictures.sheets import Layers, draw_layers
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.stages import HEADLINES, WEAK_COMPONENTS
from bestie_d2.report.charts import Chart, Series, count_chart, line_chart, score_chart
from bestie_d2.report.failure_table import HEAD, failure_rows
from bestie_d2.report.run_files import Curve, Run, StageFiles, read_lines, thinned
from bestie_d2.storage.files import make_folder, replacing
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

Block = tuple  # the name of a macro of page.html, and its arguments
Cell = str | int | float | None
Found = Mapping[Hashable, dict[str, MaskSet]]  # instances by image id and title

DASH = "–"
NUMBER = re.compile(r"-?[\d,]+(\.\d+)?(e[-+]?\d+)?")
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
TRAINING_IMAGES, TEST_IMAGES = 8, 4  # shown, however many there are
EXPORTED, PREDICTION = "exported labels", "prediction, "  # titles of pictures
FINDERS = ("bestie", "mrcnn", "mrcnn_truth")  # kinds of stages whose models find instances
SIDE, CUE_RADIUS = 256, 1 / 36  # pixels of a picture's longer side, about; share of the shorter


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


def page(title: str, lead: str, sections: Mapping[str, Sequence[Block]]) -> str:
    """The whole page; the template escapes every text in it."""
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=loader, autoescape=True).get_template("page.html")
    return template.render(title=title, lead=lead, sections=sections)


def attempt(what: str, build: Callable[..., Any], *arguments: object) -> list[Block]:
    """Parts of the page, or one that says why they are not to be had: files may be wrong, or just
    being written."""
    try:
        return build(*arguments) or []
    except Exception as error:
        return [("text", f"{what} cannot be shown: {reason_of(error)}")]


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Block:
    """A table whose first column titles the rows; columns of numbers are right-aligned, floats have
    one decimal, None and NaN are a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    columns = [{row[i] for row in cells} - {DASH} for i in range(len(head))]
    numbers = [bool(column) and all(map(NUMBER.fullmatch, column)) for column in columns]
    return ("table", list(zip(head, numbers, strict=True)), cells)


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if math.isfinite(value) else DASH
    return f"{value:,}" if isinstance(value, int) else value or DASH


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


def pictures(run: Run) -> list[Block]:
    """Images spread over both sets, and the worst of the test set, with everything that is made or
    known of them."""
    blocks: list[Block] = []
    for title, training in (("Training images", True), ("Test images", False)):
        blocks += [("heading", title), *attempt(title, _grid, run, training)]
    return blocks


def _grid(run: Run, training: bool) -> list[Block]:
    """A row for each image: what models make of it, the truth, in training its weak and exported
    labels."""
    stages = run.finished("bestie")[-1:] if training else run.finished(*FINDERS)
    if not stages and not training:
        return [("text", "No model that finds instances has been trained yet.")]
    labels = run.labels if training else KnownLabels(run.test_set)
    judged, worst = ("", []) if training else run.worst_images
    by_id = {record["image_id"]: record for record in labels.records}
    records = [by_id.pop(image_id) for image_id in worst[:TEST_IMAGES] if image_id in by_id]
    records += dataset.spread_over([*by_id.values()], TRAINING_IMAGES if training else TEST_IMAGES)
    counts = (len(records), len(labels.records), labels.name)
    blocks: list[Block] = [("grid_note", *counts, training, dataset.MIN_SCORE, judged, KIND_COLORS)]
    found: Found = {record["image_id"]: {} for record in records}
    for stage in stages:
        add = _add_taught if training else _add_predictions
        blocks += attempt(stage.name, add, run, stage, records, found)

    def row(record: dict) -> list[Block]:
        image_id = record["image_id"]
        layers = Layers(run.reader.read(record["file_name"]), instances=found[image_id])
        if training:
            layers.weak_map = labels.weak_map(record)
            layers.cues = labels.cues(record, above=run.cfg.DATASETS.CUE_THRESHOLD)
            with suppress(InputError):  # told among the pseudo labels
                if run.exported is not None:
                    exported = dataset.mask_set(record, run.exported.get(image_id, []))
                    layers.instances[EXPORTED] = exported
        layers.instances |= labels.truth(record)
        dataset.mark_failures(layers.instances, EXPORTED if training else PREDICTION + judged)
        return [_pictures(record, layers, labels.class_names)]

    for record in records:
        blocks += attempt(record["file_name"], row, record)
    return blocks


@torch.no_grad()
def _add_taught(run: Run, stage: StageFiles, records: Sequence[dict], found: Found) -> None:
    """The labels that a finished BESTIE training learned from, at the images' size: pseudo labels
    and, if it refines any, refined labels as its model has them."""
    cfg, train_set = stage.load(), run.train_set
    check_trained_classes(cfg, train_set)
    model = cast(BESTIE, load_trained_model(cfg)[0].eval())  # what such a stage trains
    mapper = WeakInstanceMapper(**{**WeakInstanceMapper.from_config(cfg), "augmentations": []})
    for record in WeakInstanceMapper.load_records(cfg, train_set):
        if record["image_id"] in found:
            item = mapper(record)
            for kind, targets in taught_targets(model, item).items():
                masks, classes, _ = instances_of_targets(targets, item["sem_seg"])
                labels = MaskSet(masks, classes, foreground=item["sem_seg"] > 0)
                found[record["image_id"]][kind.replace("_", " ")] = labels


def _add_predictions(run: Run, stage: StageFiles, records: Sequence[dict], found: Found) -> None:
    cfg = stage.load()
    model, mapper = load_trained_model(cfg)[0].eval(), EvaluationMapper(cfg, is_train=False)
    for record in records:
        masks = dataset.predicted_masks(model, mapper(record))
        found[record["image_id"]][PREDICTION + stage.name] = masks


def _pictures(record: dict, layers: Layers, class_names: Sequence[str]) -> Block:
    """The pictures of one image, each with the classes that it shows."""
    classes: dict[str, Iterable] = {title: of.classes for title, of in layers.instances.items()}
    if layers.cues is not None:
        classes["cues"] = layers.cues.classes
    if layers.weak_map is not None:
        classes["weak map"] = np.setdiff1d(layers.weak_map, (BACKGROUND_INDEX, IGNORE_INDEX)) - 1
    pictures = []
    drawn = draw_layers(layers, side=SIDE, largest=SIDE, cue_radius=CUE_RADIUS)
    for title, pixels in drawn.items():
        counts = Counter(class_names[int(class_id)] for class_id in classes.get(title, ()))
        words = [name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items())]
        content = ", ".join(words) or ("nothing" if title in classes else "")
        became = Counter(layers.instances[title].kinds or () if title in layers.instances else ())
        content += f" ({', '.join(f'{n} {kind}' for kind, n in became.items())})" * bool(became)
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode()
        pictures.append((title, content, data, pixels.shape[1], pixels.shape[0]))
    return ("pictures", relative_name(record), pictures)


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
