"""What the stages of a pipeline do: each calls what the tool of the same purpose calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.env import seed_all_rng

from bestie_d2.checks.configuration import check_test_sets, check_train_sets
from bestie_d2.checks.weak_maps import check_weak_maps
from bestie_d2.data import register_custom_datasets
from bestie_d2.engine.trainer import Trainer, append_metrics, evaluate
from bestie_d2.errors import InputError
from bestie_d2.evaluation import evaluate_weak_components, has_weak_maps
from bestie_d2.pipeline.figures import Figures, finite, headlines, shown
from bestie_d2.pipeline.record import CONFIG_FILE
from bestie_d2.pipeline.stage_job import MASK_SETS, StageJob
from bestie_d2.runs.coco_writer import LabelRecipe
from bestie_d2.runs.cue_extraction import CueSource, extract_cue_file
from bestie_d2.runs.labeling_source import LabelingSource
from bestie_d2.runs.network_maps import SINGLE_STAGE, MapRecipe, make_network_maps
from bestie_d2.runs.pseudo_label_export import export_pseudo_labels
from bestie_d2.storage.files import replacing

PERCENT = 100.0
WEAK_COMPONENTS = "weak_components"  # beside the trained stages in the folder of "evaluate"


def run_stage(job: StageJob) -> Figures:
    """Do what the stage is for, or go on with it.

    Raises:
        InputError: names the stage, and what is wrong.
    """
    try:
        return RUNS[job.pipeline.stages[job.name].kind](job)
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
    pipeline = job.pipeline
    cfg = job.configs[job.name].clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = job.folder
    weights_from = pipeline.stages[job.name].weights_from
    if weights_from:
        cfg.MODEL.WEIGHTS = pipeline.product_of(weights_from)
    kind = pipeline.stages[job.name].kind
    inputs = {pipeline.stages[name].kind: name for name in pipeline.inputs_of(job.name)}
    products = {key: pipeline.product_of(name) for key, name in inputs.items()}
    cfg.DATASETS.CUES = products.get("cues", cfg.DATASETS.CUES)
    cfg.DATASETS.WEAK_MAPS = products.get("maps", cfg.DATASETS.WEAK_MAPS)
    if kind in MASK_SETS:
        cfg.DATASETS.CUSTOM = [*cfg.DATASETS.CUSTOM, _mask_set(job, cfg.DATASETS.TRAIN[0])]
        register_custom_datasets(cfg.DATASETS.CUSTOM[-1:])
    elif "export" in products:
        cfg.DATASETS.INSTANCE_LABELS = products["export"]
    cfg.freeze()
    return cfg


def _mask_set(job: StageJob, name: str) -> dict[str, str]:
    """An entry of ``DATASETS.CUSTOM``: the training images with exported, or with true masks."""
    pipeline = job.pipeline
    DatasetCatalog.get(pipeline.train_set)  # completes the metadata of some sets
    metadata = MetadataCatalog.get(pipeline.train_set)
    stages = pipeline.inputs_of(job.name)
    exported = [stage for stage in stages if pipeline.stages[stage].kind == "export"]
    masks = pipeline.product_of(exported[0]) if exported else metadata.get("json_file")
    if not masks:
        raise InputError(f"data set {pipeline.train_set!r} has no true masks: leave out the stage")
    return {"name": name, "images": metadata.image_root, "annotations": masks}


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
    source = CueSource.open(cfg, job.pipeline.train_set, jobs=1, skip_bad=False)
    summary = extract_cue_file(source, job.product, overwrite=True)
    _print([summary.table(source.class_names), *summary.describe(source.threshold)])
    values, text = {"cues": summary.cues}, f"{summary.cues} cues above {source.threshold:g}"
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
    _print([report.table(), *report.describe()])
    if report.figures:
        miou = finite(report.figures["mIoU"])
        return Figures({"maps": report.images, "mIoU": miou}, f"mIoU {shown(miou)}")
    return Figures({"maps": report.images}, f"{report.images} maps")


def _export(job: StageJob) -> Figures:
    (owner,) = job.configs  # BESTIE, or a round of it
    cfg = _with_model(job, owner, job.folder)
    source = LabelingSource.open(cfg, job.pipeline.train_set, jobs=1, skip_bad=False)
    threshold = job.pipeline.stages[job.name].score_threshold
    recipe = LabelRecipe(use_tags=True, score_threshold=threshold, min_area=1)
    report = export_pseudo_labels(source, job.product, recipe, overwrite=True)
    _print([report.table(source.class_names), *report.histogram(), *report.describe()])
    labels = int(report.labels.sum())
    if report.quality is None:
        return Figures({"labels": labels}, f"{labels} labels")
    of = report.quality.figures()
    shares = {"precision": finite(PERCENT * of.precision), "recall": finite(PERCENT * of.recall)}
    text = ", ".join(f"{name} {shown(share)} %" for name, share in shares.items())
    return Figures({"labels": labels, **shares}, f"{labels} labels, {text}")


def _evaluate(job: StageJob) -> Figures:
    values, texts = {}, []
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


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines))


RUNS: dict[str, Callable[[StageJob], Figures]] = {
    "pam": _train,
    "cues": _extract_cues,
    "wsss": _train,
    "maps": _make_maps,
    "bestie": _train,
    "export": _export,
    "mrcnn": _train,
    "mrcnn_truth": _train,
    "evaluate": _evaluate,
}
