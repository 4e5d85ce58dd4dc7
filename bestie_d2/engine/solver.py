"""Optimizers and schedules of the released recipes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from torch import nn

from bestie_d2.errors import InputError


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
    backbone = set(model.backbone.parameters())
    return [
        *_only(groups(base), model, lambda parameter: parameter in backbone),
        *_only(groups(base * factor), model, lambda parameter: parameter not in backbone),
    ]


def _only(
    groups: list[dict], model: nn.Module, wanted: Callable[[nn.Parameter], bool]
) -> list[dict]:
    """Groups with the wanted parameters alone, in the model's order: optimizers number them."""
    place = {parameter: number for number, parameter in enumerate(model.parameters())}
    left = [{**group, "params": [p for p in group["params"] if wanted(p)]} for group in groups]
    return sorted(
        (group for group in left if group["params"]), key=lambda group: place[group["params"][0]]
    )


def build_adam(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Adam with gradient clipping as Detectron2 has it and :func:`parameter_groups`."""
    return maybe_add_gradient_clipping(cfg, torch.optim.Adam)(
        parameter_groups(cfg, model), lr=cfg.SOLVER.BASE_LR, fused=True
    )


def build_sgd(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SGD as Detectron2 has it, gradient clipping included, with :func:`parameter_groups`."""
    return maybe_add_gradient_clipping(cfg, torch.optim.SGD)(
        parameter_groups(cfg, model),
        lr=cfg.SOLVER.BASE_LR,
        momentum=cfg.SOLVER.MOMENTUM,
        nesterov=cfg.SOLVER.NESTEROV,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )


def build_polynomial_schedule(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRMultiplier:
    """Polynomial decay to 0 at ``SOLVER.MAX_ITER`` after a linear warm-up."""
    decay = PolynomialDecayParamScheduler(1.0, cfg.SOLVER.POLY_POWER)
    warmed_up = WarmupParamScheduler(
        decay,
        cfg.SOLVER.WARMUP_FACTOR,
        min(cfg.SOLVER.WARMUP_ITERS / cfg.SOLVER.MAX_ITER, 1.0),
        cfg.SOLVER.WARMUP_METHOD,
    )
    return LRMultiplier(optimizer, warmed_up, cfg.SOLVER.MAX_ITER)
