"""What the stages of a pipeline are run with, and do: each calls what the tool of the same purpose
calls, and comes back with the figures that it is judged by."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.env import seed_all_rng

from bestie_d2.checks.configuration import (
    check_config,
    check_sides_of_images,
    check_test_sets,
    check_train_sets,
)
from bestie_d2.checks.weak_maps import check_weak_maps
from bestie_d2.data import register_custom_datasets
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer, append_metrics, evaluate
from bestie_d2.errors import InputError
from bestie_d2.evaluation import evaluate_weak_components, has_weak_maps
from bestie_d2.model_keys import num_classes_key
from bestie_d2.pipeline.definition import Pipeline, StageEntry
from bestie_d2.pipeline.dependencies import DEPENDENCIES, MADE_BY, WEIGHTS, Hashes
from bestie_d2.pipeline.state import CONFIG_FILE, Sources, flattened
from bestie_d2.runs.cue_extraction import CueRecipe, extract_cue_file
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.pseudo_label_export import LabelRecipe, export_pseudo_labels
from bestie_d2.runs.weak_map_making import SINGLE_STAGE, MapRecipe, make_network_maps
from bestie_d2.storage.files import replacing

# What is added to the training set's name where masks are trained on: exported, or true ones.
MASK_SETS = {"mrcnn": "_pseudo_labels", "mrcnn_truth": "_truth"}
SCORE_THRESHOLD = "score_threshold"  # among the keys of a stage, beside its configuration's
WEAK_COMPONENTS = "weak_components"  # beside the trained stages in the folder of "evaluate"
PERCENT = 100.0
HEADLINES = {  # metrics of an evaluation, and how the table calls them
    "image_tags/mAP": "mAP of tags",
    "sem_seg/mIoU": "mIoU",
    "segm/AP": "AP",
    "segm/AP50": "AP50",
    "voc_instance/mAP50": "VOC mAP50",
}


@dataclass(frozen=True)
class Figures:
    """What a stage is judged by: all values by name, and the few for the table as text."""

    values: Mapping[str, float | None]
    text: str


def headlines(metrics: Mapping[str, float]) -> Figures:
    """Of everything that was measured, what the table shows."""
    values = {key: finite(metrics[key]) for key in HEADLINES if key in metrics}
    return Figures(values, ", ".join(f"{HEADLINES[k]} {shown(v)}" for k, v in values.items()))


def finite(value: float) -> float | None:
    """A JSON value: None for what is no number."""
    return float(value) if math.isfinite(value) else None


def shown(value: float | None) -> str:
    """A figure as the table has it."""
    return "-" if value is None else f"{value:.1f}"


@dataclass(frozen=True)
class StageJob:
    """One stage of a pipeline with its configurations.

    Attributes:
        configs: by stage, of what is trained, used or evaluated, without what earlier stages make;
            several only for ``evaluate``.
    """

    pipeline: Pipeline
    name: str
    configs: dict[str, CfgNode]

    @staticmethod
    def load(pipeline: Pipeline, name: str) -> StageJob:
        """Load the configurations, with overrides and the pipeline's data sets.

        A stage that uses another's model takes that one's overrides too, then its own.

        Raises:
            InputError: names the file or key that is wrong.
        """
        owners = [name] if pipeline.kind_of(name).trains else pipeline.inputs_of(name)
        return StageJob(pipeline, name, {o: _config(pipeline, name, o) for o in owners})

    @property
    def entry(self) -> StageEntry:
        return self.pipeline.stages[self.name]

    @property
    def folder(self) -> str:
        return self.pipeline.folder_of(self.name)

    @property
    def product(self) -> str:
        return self.pipeline.product_of(self.name)

    def inputs(self) -> dict[str, str]:
        """The products of earlier stages that it reads, by kind of stage."""
        pipeline = self.pipeline
        names = pipeline.inputs_of(self.name)
        return {pipeline.stages[name].kind: pipeline.product_of(name) for name in names}

    def sources(self, hashes: Hashes, pending: Collection[str] = ()) -> Sources:
        """What the stage is made from now; ``pending`` are stages that will be made before it."""
        pipeline, depends = self.pipeline, DEPENDENCIES[self.entry.kind]
        models = tuple(self.configs) if len(self.configs) > 1 else ()
        config: dict[str, object] = {SCORE_THRESHOLD: self.entry.score_threshold}
        defaults: dict[str, object] = {SCORE_THRESHOLD: 0.0}
        counted = [SCORE_THRESHOLD]
        for owner, cfg in self.configs.items():
            prefix, node = f"{owner}." if models else "", num_classes_key(cfg).split(".")[1]
            values = flattened(cfg)
            counted += [prefix + key for key in values if depends.count(key, node)]
            config |= {prefix + key: value for key, value in values.items()}
            defaults |= {prefix + key: value for key, value in _default_values().items()}
        made = {MADE_BY.get(kind) for kind in self.inputs()}  # parts of the data
        made |= {WEIGHTS} if self.entry.weights_from else set()
        parts = [part for part in depends.data if part not in made]
        data = hashes.of_data(parts, next(iter(self.configs.values())))
        there = [name for name in pipeline.inputs_of(self.name) if name not in pending]
        inputs = {name: hashes.of_product(pipeline.product_of(name)) for name in there}
        return Sources(config, data, inputs, tuple(counted), defaults, models)


@cache
def _default_values() -> dict[str, object]:
    """All keys of a configuration without a file."""
    return flattened(load_config())


def _config(pipeline: Pipeline, stage: str, owner: str) -> CfgNode:
    """The configuration of ``owner``'s model as ``stage`` takes it."""
    entry = pipeline.stages[owner]
    own = pipeline.stages[stage].overrides if stage != owner else []
    try:
        cfg = load_config(entry.config, [*entry.overrides, *own]).clone()
        cfg.defrost()
        cfg.DATASETS.TRAIN = (pipeline.train_set + MASK_SETS.get(entry.kind, ""),)
        cfg.DATASETS.TEST = (pipeline.test_set,)
        check_config(cfg)
        if stage == owner or own:  # else the stage that trains the model has been through this
            check_sides_of_images(cfg)  # not days later, when the stage begins
        cfg.OUTPUT_DIR = ""
    except InputError as error:
        raise InputError(f"stage {stage}: {error}") from None
    supervision = cfg.MODEL.BESTIE.SUPERVISION
    if entry.kind == "bestie" and supervision != pipeline.supervision:
        raise InputError(
            f"stage {stage}: MODEL.BESTIE.SUPERVISION is {supervision!r}, but the pipeline's "
            f"supervision is {pipeline.supervision!r}"
        )
    for name in (pipeline.train_set, pipeline.test_set):
        if name not in DatasetCatalog:
            raise InputError(f"stage {stage}: data set {name!r} is not registered")
    cfg.freeze()
    return cfg


def run_stage(job: StageJob) -> Figures:
    """Do what the stage is for, or go on with it; bad input is told with the stage's name."""
    try:
        return RUNS.get(job.entry.kind, _train)(job)
    except InputError as error:
        raise InputError(f"stage {job.name}: {error}") from None


def _train(job: StageJob) -> Figures:
    cfg = _for_training(job)
    check_test_sets(cfg)
    check_train_sets(cfg)
    with replacing(Path(job.folder, CONFIG_FILE)) as file:
        file.write(cfg.dump())
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return headlines({key: value for key, (value, _) in trainer.storage.latest().items()})


def _for_training(job: StageJob) -> CfgNode:
    """The stage's own configuration with the products that it learns from."""
    cfg, products = job.configs[job.name].clone(), job.inputs()
    cfg.defrost()
    cfg.OUTPUT_DIR = job.folder
    if job.entry.weights_from:
        cfg.MODEL.WEIGHTS = job.pipeline.product_of(job.entry.weights_from)
    cfg.DATASETS.CUES = products.get("cues", cfg.DATASETS.CUES)
    cfg.DATASETS.WEAK_MAPS = products.get("maps", cfg.DATASETS.WEAK_MAPS)
    if job.entry.kind in MASK_SETS:
        train_set = job.pipeline.train_set
        DatasetCatalog.get(train_set)  # completes the metadata of some sets
        metadata = MetadataCatalog.get(train_set)
        masks = products.get("export") or metadata.get("json_file")
        if not masks:
            raise InputError(f"data set {train_set!r} has no true masks: leave out the stage")
        of_masks = {"name": cfg.DATASETS.TRAIN[0], "images": metadata.image_root}
        cfg.DATASETS.CUSTOM = [*cfg.DATASETS.CUSTOM, {**of_masks, "annotations": masks}]
        register_custom_datasets(cfg.DATASETS.CUSTOM[-1:])
    elif "export" in products:
        cfg.DATASETS.INSTANCE_LABELS = products["export"]
    cfg.freeze()
    return cfg


def _with_model(job: StageJob, owner: str, folder: str) -> CfgNode:
    """The configuration of a trained stage with its checkpoint."""
    cfg = job.configs[owner].clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = folder
    cfg.MODEL.WEIGHTS = job.pipeline.product_of(owner)
    cfg.freeze()
    return cfg


def _extract_cues(job: StageJob) -> Figures:
    cfg = _with_model(job, "pam", job.folder)
    recipe = CueRecipe.from_config(cfg, job.pipeline.train_set)
    run, threshold = LabelingRun.open(cfg, job.pipeline.train_set), recipe.threshold
    summary = extract_cue_file(run, job.product, recipe, overwrite=True)
    print("\n".join([summary.table(run.class_names), *summary.describe(threshold)]))
    values: dict[str, float] = {"cues": summary.cues}
    text = f"{summary.cues} cues above {threshold:g}"
    if sum(summary.components):
        share = PERCENT * summary.components[1] / sum(summary.components)
        values["components with one cue"] = share
        text += f", {share:.1f} % of components with one"
    return Figures(values, text)


def _make_maps(job: StageJob) -> Figures:
    cfg = _with_model(job, "wsss", job.folder)
    train_set = job.pipeline.train_set
    make_network_maps(cfg, train_set, job.product, MapRecipe(SINGLE_STAGE), overwrite=True)
    report = check_weak_maps(train_set, job.product)
    print("\n".join([report.table(), *report.describe()]))
    if report.figures:
        miou = finite(report.figures["mIoU"])
        return Figures({"maps": report.images, "mIoU": miou}, f"mIoU {shown(miou)}")
    return Figures({"maps": report.images}, f"{report.images} maps")


def _export(job: StageJob) -> Figures:
    (owner,) = job.configs  # BESTIE, or a round of it
    cfg = _with_model(job, owner, job.folder)
    run = LabelingRun.open(cfg, job.pipeline.train_set)
    recipe = LabelRecipe(use_tags=True, score_threshold=job.entry.score_threshold, min_area=1)
    report = export_pseudo_labels(run, job.product, recipe, overwrite=True)
    lines = [report.table(run.class_names), *report.histogram(), *report.describe()]
    print("\n".join(lines))
    labels = int(report.labels.sum())
    if report.quality is None:
        return Figures({"labels": labels}, f"{labels} labels")
    of = report.quality.figures()
    shares = {"precision": finite(PERCENT * of.precision), "recall": finite(PERCENT * of.recall)}
    text = ", ".join(f"{name} {shown(share)} %" for name, share in shares.items())
    return Figures({"labels": labels, **shares}, f"{labels} labels, {text}")


def _evaluate(job: StageJob) -> Figures:
    values: dict[str, float | None] = {}
    texts: list[str] = []
    for owner in job.configs:
        cfg = _with_model(job, owner, os.path.join(job.folder, owner))
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        if not texts and has_weak_maps(job.pipeline.test_set):
            found = _evaluate_components(cfg, os.path.join(job.folder, WEAK_COMPONENTS))
            values |= {f"{WEAK_COMPONENTS}/{key}": value for key, value in found.values.items()}
        found = headlines(flatten_results_dict(evaluate(cfg)))
        values |= {f"{owner}/{key}": value for key, value in found.values.items()}
        texts.append(f"{owner}: {found.text}")
    return Figures(values, "; ".join(texts))


def _evaluate_components(cfg: CfgNode, folder: str) -> Figures:
    """What is had for nothing: the components of the test images' weak maps as instances."""
    os.makedirs(folder, exist_ok=True)
    (test_set,) = cfg.DATASETS.TEST
    evaluators = Trainer.build_evaluator(cfg, test_set, os.path.join(folder, "inference"))
    min_area = cfg.MODEL.BESTIE.TEST.MIN_AREA
    results = evaluate_weak_components(test_set, evaluators, min_area=min_area)
    append_metrics(folder, results)
    return headlines(flatten_results_dict(results))


RUNS: dict[str, Callable[[StageJob], Figures]] = {  # of the other kinds of stages: _train
    "cues": _extract_cues,
    "maps": _make_maps,
    "export": _export,
    "evaluate": _evaluate,
}
