"""What the stages of a pipeline do: each calls what the tool of the same purpose calls, and comes
back with the figures that it is judged by."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation.testing import flatten_results_dict
from torch.multiprocessing import ProcessRaisedException

from bestie_d2.checks import training as checks
from bestie_d2.checks.weak_map_check import check_weak_maps
from bestie_d2.data import register_custom_datasets, register_subset
from bestie_d2.engine.command_line import input_error_line
from bestie_d2.engine.trainer import append_metrics
from bestie_d2.errors import InputError
from bestie_d2.evaluation import (
    evaluate_weak_components,
    has_semantic_truth,
    has_truth,
    has_weak_maps,
)
from bestie_d2.evaluation.base import PERCENT
from bestie_d2.evaluation.failures import all_counts
from bestie_d2.evaluation.tasks import INSTANCES
from bestie_d2.evaluation.weak_components import HELD
from bestie_d2.model_keys import with_keys
from bestie_d2.pipeline.dependencies import KEYS, MADE_BY
from bestie_d2.pipeline.stage_job import MASK_SETS, StageJob
from bestie_d2.pipeline.stage_processes import evaluate_stage, train_stage
from bestie_d2.pipeline.state import CONFIG_FILE
from bestie_d2.runs.cue_extraction import CueRecipe, count_cue_file, extract_cue_file
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.network_maps import CAM, SINGLE_STAGE, MapRecipe, make_network_maps
from bestie_d2.runs.pseudo_label_export import LabelRecipe, export_pseudo_labels
from bestie_d2.storage.files import replacing

METHODS = {"wsss": SINGLE_STAGE, "pam": CAM}  # by the kind of stage that trains the network
# A redone stage has a new folder: what lies there is an interrupted run's, which goes on; or of
# settings that changed without a change of the product, and made anew.
make_missing_maps = partial(make_network_maps, overwrite=True, keep_finished=True)
WEAK_COMPONENTS = "weak_components"  # beside the trained stages in the folder of "evaluate"
HEADLINES = {  # metrics of an evaluation, and how the table calls them
    "image_tags/mAP": "mAP of tags",
    "sem_seg/mIoU": "mIoU",
    "segm/AP": "AP",
    "segm/AP50": "AP50",
    "voc_instance/mAP50": "VOC mAP50",
}
ALSO_KEPT = ("segm/AP75", *(f"voc_instance/mAP{percent}" for percent in (25, 70, 75)))

# What a stage is judged by: all values by name (None for no number), and the few for the table.
Figures = tuple[Mapping[str, float | None], str]


def headlines(results: Mapping) -> Figures:
    """Of everything that was measured, what is kept, and what the table shows."""
    metrics = flatten_results_dict(results)
    kept = (*HEADLINES, *ALSO_KEPT)
    values = {key: _finite(metrics[key]) for key in kept if key in metrics}
    shown = [f"{HEADLINES[key]} {_shown(values[key])}" for key in HEADLINES if key in values]
    return values, ", ".join(shown)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def run_stage(job: StageJob) -> Figures:
    """Do what the stage is for, or go on with it; bad input is told with the stage's name."""
    try:
        return RUNS.get(job.entry.kind, _train)(job)
    except (InputError, ProcessRaisedException) as error:
        line = input_error_line(error)
        if line is None:
            raise
        raise InputError(f"stage {job.name}: {line}") from None


def _train(job: StageJob) -> Figures:
    cfg = _for_training(job)
    checks.check_test_sets(cfg)
    checks.check_train_sets(cfg)
    with replacing(Path(job.folder, CONFIG_FILE)) as file:
        file.write(cfg.dump())
    return headlines(train_stage(job.pipeline, cfg))


def _for_training(job: StageJob) -> CfgNode:
    """The stage's own configuration with the products that it learns from."""
    cfg, train_set = job.configs[job.name], job.train_set
    values: dict[str, object] = {"OUTPUT_DIR": job.folder}
    if not _is_measured(job):
        values["DATASETS.TEST"] = ()
    if job.entry.weights_from:
        values["MODEL.WEIGHTS"] = job.pipeline.product_of(job.entry.weights_from)
    if job.entry.kind in MASK_SETS:
        DatasetCatalog.get(train_set)  # completes the metadata of some sets
        metadata = MetadataCatalog.get(train_set)
        masks = job.products.get("export") or metadata.get("json_file")
        if not masks:
            raise InputError(f"data set {train_set!r} has no true masks: leave out the stage")
        (name,) = cfg.DATASETS.TRAIN
        of_masks = [{"name": name, "images": metadata.image_root, "annotations": masks}]
        register_custom_datasets(of_masks)
        values["DATASETS.TRAIN"] = (register_subset(name, cfg.DATASETS.SUBSET),)
        values["DATASETS.CUSTOM"] = [*cfg.DATASETS.CUSTOM, *of_masks]
        return with_keys(cfg, values)
    for kind, part in MADE_BY.items():
        if kind in job.products:
            values[f"DATASETS.{KEYS[part]}"] = job.products[kind]
    return with_keys(cfg, values)


def _is_measured(job: StageJob) -> bool:
    """Whether there is what the training can be measured with; where people have labels alone, the
    test set is the training set, which has nothing but tags."""
    if job.test_set != job.train_set or job.entry.kind == "pam":
        return True
    return (has_semantic_truth if job.entry.kind == "wsss" else has_truth)(job.train_set)


def _with_model(job: StageJob, owner: str, folder: str = "") -> CfgNode:
    """The configuration of a trained stage with its checkpoint."""
    weights = job.pipeline.product_of(owner)
    values = {"OUTPUT_DIR": folder or job.folder, "MODEL.WEIGHTS": weights}
    return with_keys(job.configs[owner], values)


def _extract_cues(job: StageJob) -> Figures:
    cfg = _with_model(job, "pam")
    recipe = CueRecipe.from_config(cfg, job.train_set)
    run = LabelingRun.open(cfg, job.train_set, jobs=job.pipeline.jobs)
    summary = extract_cue_file(run, job.product, recipe, overwrite=True)
    print("\n".join([summary.table(run.class_names), *summary.describe(recipe.threshold)]))
    values: dict[str, float | None] = {"cues": summary.cues}
    text = f"{summary.cues} cues above {recipe.threshold:g}"
    if sum(summary.components):
        share = PERCENT * summary.components[1] / sum(summary.components)
        values["components with one cue"] = share
        text += f", {share:.1f} % of components with one"
    return values | _failures(summary.failures), text


def _make_maps(job: StageJob) -> Figures:
    train_set, (owner,) = job.train_set, job.configs
    cfg, recipe = _with_model(job, owner), MapRecipe(METHODS[owner])
    jobs = job.pipeline.jobs
    make_missing_maps(cfg, train_set, job.product, recipe, jobs=jobs)
    report = check_weak_maps(train_set, job.product)
    print("\n".join([report.table(), *report.describe()]))
    if not report.figures:
        return {"maps": report.images}, f"{report.images} maps"
    miou = _finite(report.figures["mIoU"])
    values: dict[str, float | None] = {"maps": report.images, "mIoU": miou}
    return values | _failures(report.failures), f"mIoU {_shown(miou)}"


def _measure_components(job: StageJob) -> Figures:
    """What the networks that learn from tags give for nothing: components of the maps that they
    make of the test set, whose tags they do not see, each taken for an instance; and how many cues
    the components of the training set's maps hold."""
    values: dict[str, float | None] = {}
    texts, test_set = [], job.test_set
    for owner in job.configs:
        cfg = _with_model(job, owner)
        cfg = with_keys(cfg, {"MODEL.WSSS.TEST.USE_TAGS": False})
        folder = os.path.join(job.folder, owner)
        maps = os.path.join(folder, "weak_maps")
        without_tags = MapRecipe(METHODS[owner], use_tags=False)
        jobs = job.pipeline.jobs
        make_missing_maps(cfg, test_set, maps, without_tags, jobs=jobs)
        found, text = headlines(_components_evaluated(cfg, test_set, folder, maps))
        values |= {f"{owner}/{key}": value for key, value in found.items()}
        texts.append(f"{owner}: {text}")
    made = job.products.get("maps") or job.products.get("cam_maps")
    if made and "cues" in job.products:
        recipe = CueRecipe.from_config(job.configs["pam"], job.train_set)
        cues, train_set = job.products["cues"], job.train_set
        summary = count_cue_file(train_set, cues, replace(recipe, weak_maps=made))
        print("\n".join(summary.describe(recipe.threshold)))
        total = max(sum(summary.components), 1)
        for held, count in zip(HELD, summary.components, strict=True):
            values[f"components with {held}"] = PERCENT * count / total
        texts.append(f"{_shown(values['components with one'])} % of components with one cue")
    return values, "; ".join(texts)


def _components_evaluated(cfg: CfgNode, test_set: str, folder: str, weak_maps: str = "") -> Mapping:
    """What is measured of the components of the test set's weak maps; written to the folder too."""
    os.makedirs(folder, exist_ok=True)
    name = os.path.join(folder, "inference")
    results = evaluate_weak_components(
        test_set,
        INSTANCES.build_evaluators(cfg, test_set, name),
        weak_maps=weak_maps,
        min_area=cfg.MODEL.BESTIE.TEST.MIN_AREA,
    )
    append_metrics(folder, results)
    return results


def _export(job: StageJob) -> Figures:
    (owner,) = job.configs  # BESTIE, or a round of it
    run = LabelingRun.open(_with_model(job, owner), job.train_set, jobs=job.pipeline.jobs)
    recipe = LabelRecipe(use_tags=True, score_threshold=job.entry.score_threshold, min_area=1)
    report = export_pseudo_labels(run, job.product, recipe, overwrite=True)
    print("\n".join([report.table(run.class_names), *report.histogram(), *report.describe()]))
    of = report.figures()
    values: dict[str, float | None] = {"labels": of.labels}
    text = f"{of.labels} labels"
    if has_truth(job.train_set):
        for name, share in (("precision", of.precision), ("recall", of.recall)):
            values[name] = _finite(PERCENT * share)
            text += f", {name} {_shown(values[name])} %"
    return values | _failures(report.failures), text


def _failures(counts: Mapping[str, int]) -> dict[str, float | None]:
    """As evaluations name them; nothing where no truth is known."""
    return {f"failures/{name}": n for name, n in all_counts(counts).items()} if counts else {}


def _evaluate(job: StageJob) -> Figures:
    values: dict[str, float | None] = {}
    texts, test_set = [], job.test_set
    if has_weak_maps(test_set):  # had for nothing: their components as instances
        cfg, folder = next(iter(job.configs.values())), os.path.join(job.folder, WEAK_COMPONENTS)
        found, _ = headlines(_components_evaluated(cfg, test_set, folder))
        values |= {f"{WEAK_COMPONENTS}/{key}": value for key, value in found.items()}
    for owner in job.configs:
        cfg = _with_model(job, owner, os.path.join(job.folder, owner))
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        found, text = headlines(evaluate_stage(job.pipeline, cfg))
        values |= {f"{owner}/{key}": value for key, value in found.items()}
        texts.append(f"{owner}: {text}")
    return values, "; ".join(texts)


# Of the kinds of stages that train nothing.
RUNS = {
    "cues": _extract_cues,
    **dict.fromkeys(("maps", "cam_maps"), _make_maps),
    "components": _measure_components,
    "export": _export,
    "evaluate": _evaluate,
}
