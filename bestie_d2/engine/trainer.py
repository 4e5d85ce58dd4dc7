"""Detectron2's trainer with weak labels in, and each model's own evaluation out."""

from __future__ import annotations

import json
import logging
import math
import os
import weakref
from collections import Counter
from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.engine import HookBase, TrainerBase, create_ddp_model
from detectron2.engine.hooks import EvalHook, PeriodicCheckpointer
from detectron2.evaluation import DatasetEvaluators
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from detectron2.utils.logger import setup_logger
from torch import nn

from bestie_d2.checks import training as checks
from bestie_d2.checks.normalization import normalization_remark
from bestie_d2.data import EvaluationMapper, ImageReader
from bestie_d2.data.images import describe_traits
from bestie_d2.data.loader_workers import tell_of_full_memory
from bestie_d2.data.training_stream import REPEATING_SAMPLER, TrainingStream, visits
from bestie_d2.detectron2_seam import DefaultTrainer
from bestie_d2.engine import solver
from bestie_d2.engine.configuration import check_output
from bestie_d2.engine.label_progress import LabelProgress
from bestie_d2.engine.progress_printer import ProgressPrinter
from bestie_d2.engine.save_on_interrupt import SaveOnInterrupt
from bestie_d2.engine.training_step import TrainingStep, autocast_dtype
from bestie_d2.errors import InputError
from bestie_d2.evaluation.tasks import task_of
from bestie_d2.modeling.norms import synchronize_batch_norms
from bestie_d2.pictures.dataset import spread_over
from bestie_d2.weights.checkpoint import FINAL_CHECKPOINT, BestieCheckpointer

METRICS_FILE = "metrics.json"
LOOKED_AT = 8  # pictures, of which it is told how they are taken

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains and evaluates what a configuration describes: a model of ours, or of Detectron2's.

    A configuration that names an ``INPUT.MAPPER`` is trained on weak labels; any other one on masks
    and boxes, as Detectron2 does it. ``evaluation.tasks`` says what a model is evaluated by.
    """

    build_optimizer = staticmethod(solver.build_optimizer)
    build_lr_scheduler = staticmethod(solver.build_lr_scheduler)

    def __init__(self, cfg: CfgNode) -> None:
        TrainerBase.__init__(self)  # DefaultTrainer's parts, in its order, with our step
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()  # called from a script of one's own
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        # Bad data is told before weights are fetched.
        self._records: list[dict] | None = self.training_records(cfg)
        gpu = None if checks.on_cpu(cfg) or comm.get_world_size() == 1 else [comm.get_local_rank()]
        model = create_ddp_model(model, broadcast_buffers=False, device_ids=gpu)
        self._trainer = TrainingStep(
            model,
            (),  # train() gives the loader: it knows where the batches begin
            optimizer,
            seed=cfg.SEED,
            precision=autocast_dtype(cfg),
            checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
            last=cfg.SOLVER.MAX_ITER - 1,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        classes = checks.classes_of(cfg.DATASETS.TRAIN[0])
        self.checkpointer = BestieCheckpointer(
            model, cfg.OUTPUT_DIR, classes=classes, trainer=weakref.proxy(self)
        )
        self.start_iter, self.max_iter, self.cfg = 0, cfg.SOLVER.MAX_ITER, cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = super().build_model(cfg)
        if cfg.MODEL.CHANNELS_LAST:
            model.to(memory_format=torch.channels_last)
        if comm.get_world_size() > 1:
            model = synchronize_batch_norms(model, on_cpu=checks.on_cpu(cfg))
        return model

    def build_hooks(self) -> list[HookBase]:
        hooks = super().build_hooks()
        if self.cfg.TEST.LABEL_PROGRESS.DATASET:
            # Both meet the other processes, so they come in the same order on each. The writers,
            # which the first process alone has, come later.
            kinds = [type(hook) for hook in hooks]
            hooks.insert(kinds.index(EvalHook) + 1, LabelProgress(self.cfg))
        # Saved last: what is measured at an iteration is measured before it counts as done.
        hooks.sort(key=lambda hook: isinstance(hook, PeriodicCheckpointer))
        return [*hooks, SaveOnInterrupt()]

    def build_writers(self) -> list[EventWriter]:
        printer = ProgressPrinter(self.max_iter)
        writers = super().build_writers()
        return [printer if type(one) is CommonMetricPrinter else one for one in writers]

    @classmethod
    def training_records(cls, cfg: CfgNode) -> list[dict]:
        """The records of ``DATASETS.TRAIN``, with their weak labels.

        Raises:
            InputError: no data set or image, labels that cannot be used, a batch that no number of
                images for each process makes up.
        """
        if not cfg.DATASETS.TRAIN:
            raise InputError("DATASETS.TRAIN is empty: name a data set to train on")
        checks.check_batch(cfg, comm.get_world_size())
        if cfg.INPUT.MAPPER:
            load = checks.training_mapper(cfg).load_records
            records = [record for name in cfg.DATASETS.TRAIN for record in load(cfg, name)]
        else:
            filtered = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
            records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=filtered)
        if not records:
            raise InputError(f"DATASETS.TRAIN: no image in {[*cfg.DATASETS.TRAIN]}")
        return records

    @classmethod
    def build_train_loader(
        cls, cfg: CfgNode, start: int = 0, records: list[dict] | None = None
    ) -> Iterable[list[dict]]:
        """Batches from iteration ``start`` on, the same ones whenever they are asked for, of these
        records or else those of ``cfg``."""
        batch_size, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
        records = records or cls.training_records(cfg)
        tell_of_full_memory()
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        loading, mapper, wide = cfg.DATALOADER, checks.training_mapper(cfg)(cfg), None
        if not cfg.INPUT.MAPPER and loading.ASPECT_RATIO_GROUPING:
            wide = np.array([record["width"] > record["height"] for record in records])
        if start == 0 and comm.is_main_process():
            # How a few are not taken as they are stored; check_data looks at all.
            reader, chosen = ImageReader.from_config(cfg), spread_over(records, LOOKED_AT)
            traits = Counter(trait for record in chosen for trait in reader.open_of(record).traits)
            for line in describe_traits(traits, len(chosen)):
                logger.info("a look at %d of %d pictures: %s", len(chosen), len(records), line)
        repeats = loading.SAMPLER_TRAIN == REPEATING_SAMPLER
        often = visits(records, loading.REPEAT_THRESHOLD) if repeats else None
        shapes = {"batch_size": batch_size // processes, "visits": often, "wide": wide}
        return build_detection_train_loader(
            TrainingStream(records, seed=seed, start=start, **shapes),
            mapper=mapper,
            total_batch_size=batch_size,
            aspect_ratio_grouping=False,
            num_workers=loading.NUM_WORKERS,
        )

    def resume_or_load(self, resume: bool = True) -> None:
        check_output(self.cfg.OUTPUT_DIR, resume=resume)
        super().resume_or_load(resume)  # looks at the classes of earlier weights
        if self.start_iter > self.max_iter:
            raise InputError(
                f"SOLVER.MAX_ITER is {self.max_iter}, but the training in OUTPUT_DIR "
                f"{self.cfg.OUTPUT_DIR} is at iteration {self.start_iter} already: set it to that "
                "or more, or choose another OUTPUT_DIR"
            )
        if comm.is_main_process():
            checks.write_class_names(self.cfg)
            if self.start_iter == 0 and (remark := normalization_remark(self.cfg)):
                logger.warning(remark)

    def train(self) -> dict | None:
        self._trainer.reset_data_loader(
            partial(self.build_train_loader, self.cfg, self.start_iter, self._records)
        )
        self._records = None  # the loader keeps them serialized; its workers would copy these
        # A run killed while it saved its last weights has no step left, after which it would.
        last = os.path.basename(self.checkpointer.get_checkpoint_file())
        if last and last != FINAL_CHECKPOINT and self.start_iter == self.max_iter:
            name = FINAL_CHECKPOINT.removesuffix(".pth")
            self.checkpointer.save(name, iteration=self.max_iter - 1)
        return super().train()

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        tell_of_full_memory()
        return build_detection_test_loader(cfg, dataset_name, mapper=EvaluationMapper(cfg))

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluators:
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name)
        return DatasetEvaluators(task_of(cfg).build_evaluators(cfg, dataset_name, folder))


def load_trained_model(cfg: CfgNode) -> tuple[nn.Module, dict]:
    """The model with the weights of ``MODEL.WEIGHTS``, and what else the file holds (such as
    ``iteration``); an ``InputError`` if they do not give every tensor of the model its value."""
    model = Trainer.build_model(cfg)
    state = BestieCheckpointer(model, whole=True).load(cfg.MODEL.WEIGHTS, checkpointables=[])
    return model, state


def evaluate(cfg: CfgNode) -> dict:
    """Evaluate a trained model on ``DATASETS.TEST`` and add the figures to ``metrics.json``."""
    if not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST is empty: name a data set to evaluate on")
    checks.check_test_sets(cfg)
    checks.check_trained_classes(cfg, *cfg.DATASETS.TEST)
    model, state = load_trained_model(cfg)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        append_metrics(cfg.OUTPUT_DIR, results, iteration=state.get("iteration"))
    return results


def append_metrics(output_dir: str, results: dict, *, iteration: int | None = None) -> None:
    """Add one line with the flattened results to ``metrics.json`` of a run; null is no number."""
    figures = flatten_results_dict(results)
    line = {key: value if math.isfinite(value) else None for key, value in figures.items()}
    line |= {} if iteration is None else {"iteration": iteration}
    with open(os.path.join(output_dir, METRICS_FILE), "a") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")
