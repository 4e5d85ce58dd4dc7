"""What the stages of a pipeline are run with, and do: each calls what the tool of the same purpose
calls, and comes back with the figures that it is judged by."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.env import seed_all_rng

from bestie_d2.checks import training as checks
from bestie_d2.checks.weak_map_check import check_weak_maps
from bestie_d2.data import register_custom_datasets
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer, append_metrics, evaluate
from bestie_d2.errors import InputError
from bestie_d2.evaluation import evaluate_weak_components, has_truth, has_weak_maps
from bestie_d2.evaluation.base import PERCENT
from bestie_d2.model_keys import num_classes_key, with_keys
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.dependencies import DATA, KEYS, MADE_BY, WEIGHTS, Hashes, counts
from bestie_d2.pipeline.state import CONFIG_FILE, NOT_MADE, Sources, StageRecord, flattened
from bestie_d2.runs.cue_extraction import CueRecipe, extract_cue_file
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.pseudo_label_export import LabelRecipe, export_pseudo_labels
from bestie_d2.runs.weak_map_making import SINGLE_STAGE, MapRecipe, make_network_maps
from bestie_d2.storage.files import replacing

# What is added to the training set's name where masks are trained on: exported, or true ones.
MASK_SETS = {"mrcnn": "_pseudo_labels", "mrcnn_truth": "_truth"}
SCORE_THRESHOLD = "score_threshold"  # among the keys of a stage, beside its configuration's
WEAK_COMPONENTS = "weak_components"  # beside the trained stages in the folder of "evaluate"
HEADLINES = {  # metrics of an evaluation, and how the table calls them
    "image_tags/mAP": "mAP of tags",
    "sem_seg/mIoU": "mIoU",
    "segm/AP": "AP",
    "segm/AP50": "AP50",
    "voc_instance/mAP50": "VOC mAP50",
}

# What a stage is judged by: all values by name (None for no number), and the few for the table.
Figures = tuple[Mapping[str, float | None], str]


def headlines(results: Mapping) -> Figures:
    """Of everything that was measured, what the table shows."""
    metrics = flatten_results_dict(results)
    values = {key: _finite(metrics[key]) for key in HEADLINES if key in metrics}
    return values, ", ".join(f"{HEADLINES[key]} {_shown(v)}" for key, v in values.items())


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


@cache
def _default_values() -> dict[str, object]:
    """All keys of a configuration without a file."""
    return flattened(load_config())


class StageJob:
    """One stage with its ``configs``, by stage, of what is trained, used or evaluated, without what
    earlier stages make; several only for ``evaluate``. A stage that uses another's model takes that
    one's overrides too, then its own."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.pipeline, self.name, self.entry = pipeline, name, pipeline.stages[name]
        self.folder, self.product = pipeline.folder_of(name), pipeline.product_of(name)
        self.record = StageRecord(self.folder)
        self.inputs = pipeline.inputs_of(name)
        # what earlier stages have made that it reads, by kind of stage
        self.products = {pipeline.stages[i].kind: pipeline.product_of(i) for i in self.inputs}
        owners = [name] if pipeline.kind_of(name).trains else self.inputs
        try:
            self.configs = {owner: self._config(owner) for owner in owners}
        except InputError as error:
            raise InputError(f"stage {name}: {error}") from None

    def _config(self, owner: str) -> CfgNode:
        """The configuration of ``owner``'s model as this stage takes it."""
        pipeline, entry = self.pipeline, self.pipeline.stages[owner]
        others = self.entry.overrides if self.name != owner else []
        cfg = load_config(entry.config, [*entry.overrides, *others])
        train_set, test_set = pipeline.train_set, pipeline.test_set
        trained_on = train_set + MASK_SETS.get(entry.kind, "")
        cfg = with_keys(cfg, {"DATASETS.TRAIN": (trained_on,), "DATASETS.TEST": (test_set,)})
        checks.check_config(cfg)
        if self.name == owner or others:  # else the stage that trains the model has been through it
            checks.check_sides_of_images(cfg)  # not days later, when the stage begins
        supervision = cfg.MODEL.BESTIE.SUPERVISION
        if entry.kind == "bestie" and supervision != pipeline.supervision:
            raise InputError(
                f"MODEL.BESTIE.SUPERVISION is {supervision!r}, but the pipeline's supervision is "
                f"{pipeline.supervision!r}"
            )
        if unknown := [name for name in (train_set, test_set) if name not in DatasetCatalog]:
            raise InputError(f"data set {unknown[0]!r} is not registered")
        return with_keys(cfg, {"OUTPUT_DIR": ""})

    def sources(self, hashes: Hashes, pending: Collection[str] = ()) -> Sources:
        """What the stage is made from now; ``pending`` are stages that will be made before it."""
        kind, several = self.entry.kind, len(self.configs) > 1
        config: dict[str, object] = {SCORE_THRESHOLD: self.entry.score_threshold}
        counted: dict[str, object] = {SCORE_THRESHOLD: 0.0}
        for owner, cfg in self.configs.items():
            prefix, node = f"{owner}." if several else "", num_classes_key(cfg).split(".")[1]
            for key, value in flattened(cfg).items():
                config[prefix + key] = value
                if counts(kind, key, node):
                    counted[prefix + key] = _default_values().get(key)
        made = [MADE_BY.get(made_by) for made_by in self.products]
        made += [WEIGHTS] if self.entry.weights_from else []
        parts = [part for part in DATA[kind] if part not in made]
        data = hashes.of_data(parts, next(iter(self.configs.values())))
        inputs = dict.fromkeys(self.inputs, NOT_MADE)
        for name in inputs.keys() - set(pending):
            inputs[name] = hashes.of_product(self.pipeline.product_of(name))
        return Sources(config, data, inputs, counted)


def run_stage(job: StageJob) -> Figures:
    """Do what the stage is for, or go on with it; bad input is told with the stage's name."""
    try:
        return RUNS.get(job.entry.kind, _train)(job)
    except InputError as error:
        raise InputError(f"stage {job.name}: {error}") from None


def _train(job: StageJob) -> Figures:
    cfg = _for_training(job)
    checks.check_test_sets(cfg)
    checks.check_train_sets(cfg)
    with replacing(Path(job.folder, CONFIG_FILE)) as file:
        file.write(cfg.dump())
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return headlines({key: value for key, (value, _) in trainer.storage.latest().items()})


def _for_training(job: StageJob) -> CfgNode:
    """The stage's own configuration with the products that it learns from."""
    cfg, train_set = job.configs[job.name], job.pipeline.train_set
    values: dict[str, object] = {"OUTPUT_DIR": job.folder}
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
        values["DATASETS.CUSTOM"] = [*cfg.DATASETS.CUSTOM, *of_masks]
        return with_keys(cfg, values)
    for kind, part in MADE_BY.items():
        if kind in job.products:
            values[f"DATASETS.{KEYS[part]}"] = job.products[kind]
    return with_keys(cfg, values)


def _with_model(job: StageJob, owner: str, folder: str = "") -> CfgNode:
    """The configuration of a trained stage with its checkpoint."""
    weights = job.pipeline.product_of(owner)
    values = {"OUTPUT_DIR": folder or job.folder, "MODEL.WEIGHTS": weights}
    return with_keys(job.configs[owner], values)


def _extract_cues(job: StageJob) -> Figures:
    cfg = _with_model(job, "pam")
    recipe = CueRecipe.from_config(cfg, job.pipeline.train_set)
    run = LabelingRun.open(cfg, job.pipeline.train_set)
    summary = extract_cue_file(run, job.product, recipe, overwrite=True)
    print("\n".join([summary.table(run.class_names), *summary.describe(recipe.threshold)]))
    values: dict[str, float | None] = {"cues": summary.cues}
    text = f"{summary.cues} cues above {recipe.threshold:g}"
    if sum(summary.components):
        share = PERCENT * summary.components[1] / sum(summary.components)
        values["components with one cue"] = share
        text += f", {share:.1f} % of components with one"
    return values, text


def _make_maps(job: StageJob) -> Figures:
    train_set, recipe = job.pipeline.train_set, MapRecipe(SINGLE_STAGE)
    make_network_maps(_with_model(job, "wsss"), train_set, job.product, recipe, overwrite=True)
    report = check_weak_maps(train_set, job.product)
    print("\n".join([report.table(), *report.describe()]))
    if not report.figures:
        return {"maps": report.images}, f"{report.images} maps"
    miou = _finite(report.figures["mIoU"])
    return {"maps": report.images, "mIoU": miou}, f"mIoU {_shown(miou)}"


def _export(job: StageJob) -> Figures:
    (owner,) = job.configs  # BESTIE, or a round of it
    run = LabelingRun.open(_with_model(job, owner), job.pipeline.train_set)
    recipe = LabelRecipe(use_tags=True, score_threshold=job.entry.score_threshold, min_area=1)
    report = export_pseudo_labels(run, job.product, recipe, overwrite=True)
    print("\n".join([report.table(run.class_names), *report.histogram(), *report.describe()]))
    of = report.figures()
    values: dict[str, float | None] = {"labels": of.labels}
    text = f"{of.labels} labels"
    if has_truth(job.pipeline.train_set):
        for name, share in (("precision", of.precision), ("recall", of.recall)):
            values[name] = _finite(PERCENT * share)
            text += f", {name} {_shown(values[name])} %"
    return values, text


def _evaluate(job: StageJob) -> Figures:
    values: dict[str, float | None] = {}
    texts, test_set = [], job.pipeline.test_set
    if has_weak_maps(test_set):  # had for nothing: their components as instances
        cfg, folder = next(iter(job.configs.values())), os.path.join(job.folder, WEAK_COMPONENTS)
        os.makedirs(folder, exist_ok=True)
        evaluators = Trainer.build_evaluator(cfg, test_set, os.path.join(folder, "inference"))
        min_area = cfg.MODEL.BESTIE.TEST.MIN_AREA
        results = evaluate_weak_components(test_set, evaluators, min_area=min_area)
        append_metrics(folder, results)
        found, _ = headlines(results)
        values |= {f"{WEAK_COMPONENTS}/{key}": value for key, value in found.items()}
    for owner in job.configs:
        cfg = _with_model(job, owner, os.path.join(job.folder, owner))
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        found, text = headlines(evaluate(cfg))
        values |= {f"{owner}/{key}": value for key, value in found.items()}
        texts.append(f"{owner}: {text}")
    return values, "; ".join(texts)


# Of the kinds of stages that train nothing.
RUNS = {"cues": _extract_cues, "maps": _make_maps, "export": _export, "evaluate": _evaluate}
