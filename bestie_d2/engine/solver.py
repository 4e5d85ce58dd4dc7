"""Optimizers and schedules of the released recipes."""

from __future__ import annotations

import detectron2.solver
import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from bestie_d2.errors import InputError

POLYNOMIAL = "WarmupPolynomialLR"  # SOLVER.LR_SCHEDULER_NAME of the schedule that we add


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict]:
    """Detectron2's parameter groups; all but the backbone at ``SOLVER.HEAD_LR_FACTOR`` times its
    learning rate. What the backbone shares with the rest counts as the backbone's.

    Raises:
        InputError: a factor other than 1 for a model without a backbone.
    """

    def groups(learning_rate: float) -> list[dict]:
        return get_default_optimizer_params(
            model,
            base_lr=learning_rate,
            weight_decay=cfg.SOLVER.WEIGHT_DECAY,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )

    base, factor = cfg.SOLVER.BASE_LR, cfg.SOLVER.HEAD_LR_FACTOR
    if factor == 1:
        return groups(base)
    if not hasattr(model, "backbone"):
        raise InputError(
            f"SOLVER.HEAD_LR_FACTOR is {factor}, but {cfg.MODEL.META_ARCHITECTURE} has no "
            "'backbone' to tell its head from: set it to 1"
        )
    backbone = set(model.get_submodule("backbone").parameters())
    # Optimizers number parameters in the order of the groups: that of the model, in each part.
    order = {parameter: number for number, parameter in enumerate(model.parameters())}
    parts = []
    for learning_rate, of_backbone in ((base, True), (base * factor, False)):
        chosen = [
            {**group, "params": [p for p in group["params"] if (p in backbone) == of_backbone]}
            for group in groups(learning_rate)
        ]
        filled = [group for group in chosen if group["params"]]
        parts += sorted(filled, key=lambda group: order[group["params"][0]])
    return parts


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or Detectron2's SGD, with its gradient clipping and :func:`parameter_groups`."""
    groups, rate = parameter_groups(cfg, model), cfg.SOLVER.BASE_LR
    if cfg.SOLVER.ADAM:
        return maybe_add_gradient_clipping(cfg, torch.optim.Adam)(groups, lr=rate, fused=True)
    return maybe_add_gradient_clipping(cfg, torch.optim.SGD)(
        groups,
        lr=rate,
        momentum=cfg.SOLVER.MOMENTUM,
        nesterov=cfg.SOLVER.NESTEROV,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Polynomial decay to 0 at ``SOLVER.MAX_ITER`` after a warm-up, or one of Detectron2's.

    Raises:
        InputError: there is no schedule of this name.
    """
    if cfg.SOLVER.LR_SCHEDULER_NAME == POLYNOMIAL:
        warmed_up = WarmupParamScheduler(
            PolynomialDecayParamScheduler(1.0, cfg.SOLVER.POLY_POWER),
            cfg.SOLVER.WARMUP_FACTOR,
            min(cfg.SOLVER.WARMUP_ITERS / cfg.SOLVER.MAX_ITER, 1.0),
            cfg.SOLVER.WARMUP_METHOD,
        )
        return LRMultiplier(optimizer, warmed_up, cfg.SOLVER.MAX_ITER)
    try:
        return detectron2.solver.build_lr_scheduler(cfg, optimizer)
    except ValueError as error:
        raise InputError(
            f"SOLVER.LR_SCHEDULER_NAME is {cfg.SOLVER.LR_SCHEDULER_NAME!r}, expected "
            f"{POLYNOMIAL} or one of Detectron2's ({error})"
        ) from None
