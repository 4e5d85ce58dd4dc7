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
    learning rate, which a model without a backbone refuses. Of a feature pyramid only the network
    under it is the backbone; what that shares with the rest counts as the backbone's."""
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    if solver.HEAD_LR_FACTOR == 1:
        return groups
    if not hasattr(model, "backbone"):
        raise InputError(
            f"SOLVER.HEAD_LR_FACTOR is {solver.HEAD_LR_FACTOR}, but {cfg.MODEL.META_ARCHITECTURE} "
            "has no 'backbone' to tell its head from: set it to 1"
        )
    network = model.get_submodule("backbone")
    backbone = set(getattr(network, "bottom_up", network).parameters())
    # Optimizers number parameters in the order of the groups: that of the model, in each part.
    order = {parameter: number for number, parameter in enumerate(model.parameters())}
    parts: list[dict] = []
    for factor, of_backbone in ((1, True), (solver.HEAD_LR_FACTOR, False)):
        part = []
        for group in groups:
            chosen = [p for p in group["params"] if (p in backbone) == of_backbone]
            part += [{**group, "params": chosen, "lr": group["lr"] * factor}] if chosen else []
        parts += sorted(part, key=lambda group: order[group["params"][0]])
    return parts


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or Detectron2's SGD, with its gradient clipping and :func:`parameter_groups`."""
    groups, solver = parameter_groups(cfg, model), cfg.SOLVER
    if solver.ADAM:
        adam = maybe_add_gradient_clipping(cfg, torch.optim.Adam)
        return adam(groups, lr=solver.BASE_LR, fused=True)
    sgd = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    momentum, nesterov = solver.MOMENTUM, solver.NESTEROV
    return sgd(groups, lr=solver.BASE_LR, momentum=momentum, nesterov=nesterov)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Polynomial decay to 0 at ``SOLVER.MAX_ITER`` after a warm-up, or one of Detectron2's; an
    ``InputError`` where there is no schedule of this name."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == POLYNOMIAL:
        decay = PolynomialDecayParamScheduler(1.0, solver.POLY_POWER)
        warm_up = min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0)
        rate = WarmupParamScheduler(decay, solver.WARMUP_FACTOR, warm_up, solver.WARMUP_METHOD)
        return LRMultiplier(optimizer, rate, solver.MAX_ITER)
    try:
        return detectron2.solver.build_lr_scheduler(cfg, optimizer)
    except ValueError as error:
        raise InputError(
            f"SOLVER.LR_SCHEDULER_NAME is {solver.LR_SCHEDULER_NAME!r}, expected "
            f"{POLYNOMIAL} or one of Detectron2's ({error})"
        ) from None
