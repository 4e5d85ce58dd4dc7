"""Detectron2's trainer with weak labels in, and each model's own evaluation out."""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Iterable

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import EvalHook, PeriodicCheckpointer
from detectron2.evaluation import DatasetEvaluators
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from torch import nn

from bestie_d2.checks.class_names import check_trained_classes, classes_of, write_class_names
from bestie_d2.checks.config import check_test_sets
from bestie_d2.data import DetectionMapper, EvaluationMapper
from bestie_d2.engine.interrupt import SaveOnInterrupt
from bestie_d2.engine.label_progress import LabelProgressHook
from bestie_d2.engine.solver import build_adam, build_polynomial_schedule, build_sgd
from bestie_d2.engine.tasks import task_of
from bestie_d2.engine.training_data import build_training_loader
from bestie_d2.engine.training_step import TrainingStep, autocast_dtype
from bestie_d2.errors import InputError
from bestie_d2.modeling.norms import synchronize_batch_norms
from bestie_d2.weights.checkpoint import BestieCheckpointer

POLYNOMIAL = "WarmupPolynomialLR"  # SOLVER.LR_SCHEDULER_NAME of the schedule that we add
METRICS_FILE = "metrics.json"
FINAL_CHECKPOINT = "model_final.pth"  # Detectron2's, after the last iteration


class Trainer(DefaultTrainer):
    """Trains and evaluates what a configuration describes: a model of ours, or of Detectron2's.

    A configuration that names an ``INPUT.MAPPER`` is trained on weak labels; any other one goes
    through Detectron2's own loader. ``engine.tasks`` says what a model is evaluated by.
    """

    def __init__(self, cfg: CfgNode) -> None:
        detectron2_cfg = cfg.clone()
        detectron2_cfg.defrost()
        detectron2_cfg.SOLVER.AMP.ENABLED = False  # its own form of it is for GPUs only
        super().__init__(detectron2_cfg)
        self._trainer = TrainingStep(
            self._trainer,
            seed=cfg.SEED,
            dtype=autocast_dtype(cfg),
            checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
            last=cfg.SOLVER.MAX_ITER - 1,
        )
        self.checkpointer = BestieCheckpointer(
            self.model,
            cfg.OUTPUT_DIR,
            classes=classes_of(cfg.DATASETS.TRAIN[0]),
            trainer=weakref.proxy(self),
        )
        for hook in self._hooks:
            if isinstance(hook, PeriodicCheckpointer):
                hook.checkpointer = self.checkpointer  # it was built with Detectron2's
        self.register_hooks([SaveOnInterrupt(self.checkpointer, self._trainer.read_losses)])

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = super().build_model(cfg)
        if cfg.MODEL.CHANNELS_LAST:
            model.to(memory_format=torch.channels_last)
        if comm.get_world_size() > 1 and next(model.parameters()).is_cuda:
            model = synchronize_batch_norms(model)
        return model

    def build_hooks(self) -> list[HookBase]:
        hooks = super().build_hooks()
        if self.cfg.TEST.LABEL_PROGRESS.DATASET:
            # Both meet the other processes, so they come in the same order on each. The writers,
            # which the first process alone has, come later.
            place = next(n for n, hook in enumerate(hooks) if isinstance(hook, EvalHook))
            hooks.insert(place + 1, LabelProgressHook(self.cfg))
        # Saved last: what is measured at an iteration is measured before it counts as done.
        return sorted(hooks, key=lambda hook: isinstance(hook, PeriodicCheckpointer))

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start: int = 0) -> Iterable[list[dict]]:
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        loader = build_training_loader(cfg, seed=seed, start=start)
        if loader is None:
            mapper = DetectionMapper(cfg, is_train=True)
            return build_detection_train_loader(cfg, mapper=mapper)
        return loader

    def state_dict(self) -> dict:
        # Release 0.6 leaves the optimizer out of its checkpoints: Adam's moments would start anew.
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if "_trainer" in state_dict:
            self._trainer.load_state_dict(state_dict["_trainer"])

    def resume_or_load(self, resume: bool = True) -> None:
        super().resume_or_load(resume)  # looks at the classes of earlier weights
        if comm.is_main_process():
            write_class_names(self.cfg)
        if self.start_iter > 0:
            self._trainer.read_from(self.build_train_loader(self.cfg, self.start_iter))

    def train(self) -> dict | None:
        self._save_final()
        return super().train()

    def _save_final(self) -> None:
        """Save what a run was killed before, or while, saving: all is trained, and no step is left
        after which Detectron2 would."""
        last = os.path.basename(self.checkpointer.get_checkpoint_file())
        if last and last != FINAL_CHECKPOINT and self.start_iter == self.max_iter:
            name = FINAL_CHECKPOINT.removesuffix(".pth")
            self.checkpointer.save(name, iteration=self.max_iter - 1)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        mapper = EvaluationMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_adam(cfg, model) if cfg.SOLVER.ADAM else build_sgd(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer):
        if cfg.SOLVER.LR_SCHEDULER_NAME == POLYNOMIAL:
            return build_polynomial_schedule(cfg, optimizer)
        try:
            return super().build_lr_scheduler(cfg, optimizer)
        except ValueError as error:
            raise InputError(
                f"SOLVER.LR_SCHEDULER_NAME is {cfg.SOLVER.LR_SCHEDULER_NAME!r}, expected "
                f"{POLYNOMIAL} or one of Detectron2's ({error})"
            ) from None

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluators:
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name)
        return DatasetEvaluators(task_of(cfg).build_evaluators(cfg, dataset_name, folder))


def load_trained_model(cfg: CfgNode) -> tuple[nn.Module, dict]:
    """The model with the weights of ``MODEL.WEIGHTS``, and what else the file holds (such as
    ``iteration``); see ``engine.configuration.with_trained_weights``.

    Raises:
        InputError: they do not give every tensor of the model its value.
    """
    model = Trainer.build_model(cfg)
    checkpointer = BestieCheckpointer(model, whole=True)
    return model, checkpointer.load(cfg.MODEL.WEIGHTS, checkpointables=[])


def evaluate(cfg: CfgNode) -> dict:
    """Evaluate a trained model on ``DATASETS.TEST`` and add the figures to ``metrics.json``."""
    if not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST is empty: name a data set to evaluate on")
    check_test_sets(cfg)
    check_trained_classes(cfg, *cfg.DATASETS.TEST)
    model, state = load_trained_model(cfg)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        append_metrics(cfg.OUTPUT_DIR, results, iteration=state.get("iteration"))
    return results


def append_metrics(output_dir: str, results: dict, *, iteration: int | None = None) -> None:
    """Add one line with the flattened results to ``metrics.json`` of a run; null is no number."""
    line = {} if iteration is None else {"iteration": iteration}
    for key, value in flatten_results_dict(results).items():
        line[key] = value if math.isfinite(value) else None
    with open(os.path.join(output_dir, METRICS_FILE), "a") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")
