"""Optimizer and schedule of the released recipe."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from torch import nn


def build_adam(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Adam with Detectron2's parameter groups (``SOLVER.BASE_LR``, ``WEIGHT_DECAY`` ...)."""
    groups = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
    )
    return torch.optim.Adam(groups, lr=cfg.SOLVER.BASE_LR)


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
