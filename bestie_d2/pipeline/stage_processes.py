"""The training or the evaluation of a stage, in this process or in several that work together."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from bestie_d2.data import register_custom_datasets, register_subset
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.distributed import AUTO, joined, launch
from bestie_d2.engine.trainer import Trainer, evaluate
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.stage_log import logging_to


def train_stage(pipeline: Pipeline, cfg: CfgNode) -> Mapping[str, float]:
    """Train, or go on with it; what was measured last, by name."""
    return _in_processes(_train, pipeline, cfg)


def evaluate_stage(pipeline: Pipeline, cfg: CfgNode) -> Mapping[str, Any]:
    """Evaluate a trained model; its results as Detectron2 nests them."""
    return _in_processes(evaluate, pipeline, cfg)


def _train(cfg: CfgNode) -> Mapping[str, float]:
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank())
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return {key: value for key, (value, _) in trainer.storage.latest().items()}


def _in_processes(
    work: Callable[[CfgNode], Mapping], pipeline: Pipeline, cfg: CfgNode
) -> Mapping[str, Any]:
    """What the work, a function of a module, returns in the first of the pipeline's processes."""
    if pipeline.processes == 1:
        return work(cfg)
    of_stages = [(entry.config, entry.overrides) for entry in pipeline.stages.values()]
    machine = {"num_gpus": pipeline.processes, "num_machines": 1, "machine_rank": 0}
    with TemporaryDirectory() as folder:
        measured = Path(folder, "measured.json")
        given = {"work": work, "cfg": cfg, "of_stages": of_stages, "measured": measured}
        launch(_work_together, Namespace(**machine, **given, dist_url=AUTO))
        return json.loads(measured.read_text())


def _work_together(arguments: Namespace) -> None:
    """What each process does."""
    cfg = arguments.cfg
    with joined(cfg.MODEL.DEVICE), logging_to(cfg.OUTPUT_DIR, comm.get_rank()):
        for file, overrides in arguments.of_stages:  # whose data sets and modules are registered
            load_config(file, overrides)
        register_custom_datasets(cfg.DATASETS.CUSTOM)
        for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
            register_subset(name, cfg.DATASETS.SUBSET)
        measured = arguments.work(cfg)
        if comm.is_main_process():
            arguments.measured.write_text(json.dumps(measured))
