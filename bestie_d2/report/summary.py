"""What was run and what came out: results, the chain's table, the configuration."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from bestie_d2.engine.trainer import METRICS_FILE
from bestie_d2.pipeline.definition import StageEntry
from bestie_d2.pipeline.stages import WEAK_COMPONENTS
from bestie_d2.report.metrics import last_values
from bestie_d2.report.page import Cell, details, heading, paragraph, table
from bestie_d2.report.run_files import RunFiles, StageFiles
from bestie_d2.storage.processes import running_in

RESULTS = {  # columns of the results, and the measurements they show
    "COCO AP": "segm/AP",
    "AP50": "segm/AP50",
    "AP75": "segm/AP75",
    "VOC mAP25": "voc_instance/mAP25",
    "mAP50": "voc_instance/mAP50",
    "mAP70": "voc_instance/mAP70",
    "mAP75": "voc_instance/mAP75",
}
ENTRY = ("configuration file", "starts from", "score threshold", "overrides")
SETTINGS = {  # columns of the configuration, and the keys they show
    "model": ("MODEL", "META_ARCHITECTURE"),
    "backbone": ("MODEL", "BACKBONE", "NAME"),
    "device": ("MODEL", "DEVICE"),
    "iterations": ("SOLVER", "MAX_ITER"),
    "images a step": ("SOLVER", "IMS_PER_BATCH"),
    "learning rate": ("SOLVER", "BASE_LR"),
    "seed": ("SEED",),
}


def results_section(run: RunFiles) -> list[str]:
    """The figures of everything that was evaluated on the test set, in percent."""
    evaluated = run.finished("evaluate")
    if not evaluated:
        return [paragraph("Not evaluated yet.")]
    rows = []
    for owner in (WEAK_COMPONENTS, *(stage.name for stage in run.stages)):
        found = last_values(os.path.join(evaluated[-1].folder, owner, METRICS_FILE))
        if found:
            title = "given weak maps' components (free)" if owner == WEAK_COMPONENTS else owner
            rows.append([title, *(_finite(found.get(key)) for key in RESULTS.values())])
    caption = f"On {run.pipeline.test_set}, in percent."
    return [table(["trained stage", *RESULTS], rows), paragraph(caption, note=True)]


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def chain_section(run: RunFiles, problems: Mapping[str, str]) -> list[str]:
    """A row for each stage: how far it is, how long it took, what came out.

    Args:
        problems: why a stage cannot be run as it is configured, by its name.
    """
    rows: list[list[Cell]] = []
    for stage in run.stages:
        manifest = stage.manifest or {}
        reads = ", ".join(run.pipeline.inputs_of(stage.name)) or None
        took = round(manifest["seconds"]) if manifest else None
        rows.append([stage.name, reads, _state(stage), took, manifest.get("text")])
    parts = [table(["stage", "reads", "state", "seconds", "figures"], rows)]
    for stage in run.stages:
        if stage.kept:
            what = f"What {stage.name} had made before is kept in {', '.join(stage.kept)}."
            parts.append(paragraph(what, note=True))
    for name, problem in problems.items():
        parts.append(paragraph(f"{name} cannot be run as it is configured: {problem}"))
    return parts


def _state(stage: StageFiles) -> str:
    if stage.problem:
        return f"damaged: {stage.problem}"
    if stage.manifest:
        gone = not os.path.exists(stage.product)
        return f"finished, but {os.path.basename(stage.product)} is gone" if gone else "finished"
    if stage.failure:
        return f"failed: {stage.failure}"
    running = running_in(stage.folder)
    if running:
        return f"running: {running}"
    return "begun, not finished" if stage.started else "not there yet"


def configuration_section(run: RunFiles) -> list[str]:
    """Pipeline, versions and seeds, and of each training its main settings and whole file."""
    pipeline = run.pipeline
    rows = [
        ["supervision", pipeline.supervision],
        ["training set", pipeline.train_set],
        ["test set", pipeline.test_set],
        ["versions", _versions(run)],
    ]
    parts = [table(["pipeline", pipeline.name], rows), heading("Stages")]
    stages = [[name, *_entry(entry)] for name, entry in pipeline.stages.items()]
    parts.append(table(["stage", *ENTRY], stages))
    trainings = [stage for stage in run.stages if stage.config]
    if trainings:
        parts += [heading("Trainings"), table(["stage", *SETTINGS], map(_settings, trainings))]
        parts += [details(f"Whole configuration of {s.name}", s.config) for s in trainings]
    return parts


def _entry(entry: StageEntry) -> list[str | None]:
    """What the pipeline says of a stage: the columns ``ENTRY``."""
    pairs = zip(entry.overrides[::2], entry.overrides[1::2], strict=True)
    overrides = ", ".join(f"{key} {value}" for key, value in pairs)
    threshold = f"{entry.score_threshold:g}" if entry.score_threshold else None
    return [entry.config or None, entry.weights_from or None, threshold, overrides or None]


def _versions(run: RunFiles) -> str | None:
    """Those of the stage that was finished last in the chain."""
    manifests = [stage.manifest for stage in run.stages if stage.manifest]
    if not manifests:
        return None
    return ", ".join(f"{name} {number}" for name, number in manifests[-1]["versions"].items())


def _settings(stage: StageFiles) -> list[Cell]:
    row: list[Cell] = [stage.name]
    settings = stage.settings
    for path in SETTINGS.values():
        value: object = settings
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        row.append(f"{value:g}" if isinstance(value, float) else value)
    return row
