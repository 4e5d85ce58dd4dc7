"""Freeze and synchronize batch norms, also those that carry an activation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm
from fvcore.nn.distributed import differentiable_all_reduce
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bestie_d2.errors import InputError

# Batch norms that do nothing else. A subclass may carry an activation, as timm's does.
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SYNCHRONIZED = (nn.SyncBatchNorm, NaiveSyncBatchNorm)


class StaysInEval(nn.Module):
    """Marks a norm that does not leave eval mode; the layers inside it, such as dropout, do."""

    def train(self, mode: bool = True) -> StaysInEval:
        super().train(mode)
        self.training = False
        return self


@functools.cache
def _class_that_stays_in_eval(norm_class: type[nn.Module]) -> type[nn.Module]:
    return type(f"Frozen{norm_class.__name__}", (StaysInEval, norm_class), {})


def freeze_batch_norms(module: nn.Module) -> nn.Module:
    """Make batch norms compute what they compute in eval mode, with values that never change.

    Plain ones become Detectron2's ``FrozenBatchNorm2d``. Every other layer with running statistics
    stays what it is, with its activation, but never leaves eval mode. All keep their names in the
    state dict. Norms without running statistics, such as group norm, are the same in both modes
    and are left alone.

    Returns the module, changed in place, or what takes its place.
    """
    if isinstance(module, StaysInEval):  # frozen before
        return module
    if isinstance(module, _BatchNorm) and module.running_mean is None:
        raise InputError(
            f"a {type(module).__name__} of the backbone has no running statistics, so it cannot be "
            "frozen: set MODEL.WSSS.FREEZE_BACKBONE_NORM to False"
        )
    if type(module) in (nn.BatchNorm2d, *SYNCHRONIZED):
        frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(module)
        # Newer Detectron2 has this count in the state dict, release 0.6 has not.
        frozen.num_batches_tracked = None
        return frozen
    # A frozen norm has running statistics too, but nothing that learns.
    learns = isinstance(module, _BatchNorm) or any(True for _ in module.parameters(recurse=False))
    if learns and "running_var" in dict(module.named_buffers(recurse=False)):
        kind: Any = type(module)
        module.__class__ = _class_that_stays_in_eval(kind)
        module.train(module.training)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False
    return _with_children(module, freeze_batch_norms)


class SharedBatchNorm(nn.BatchNorm2d):
    """Takes the statistics of all processes' batches together, as ``SyncBatchNorm`` does, which is
    for GPUs alone; ``NaiveSyncBatchNorm`` counts each process's pixels alike, and no batches."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        exact, channels = input.float(), input.shape[1]
        pixels = exact.new_tensor([exact[:, 0].numel()])
        sums = torch.cat([exact.sum((0, 2, 3)), exact.square().sum((0, 2, 3)), pixels])
        total, squares, count = differentiable_all_reduce(sums).split([channels, channels, 1])
        mean = total / count
        # Values that hardly differ can give less than 0 in float.
        variance = (squares / count - mean.square()).clamp(min=0)
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (exact * scale[:, None, None] + shift[:, None, None]).to(input.dtype)


class SharedBatchNormAct(SharedBatchNorm):
    """The same with the activation of timm's ``BatchNormAct2d``."""

    act: nn.Module
    drop: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


SHARED: dict[type, Any] = {nn.BatchNorm2d: SharedBatchNorm, BatchNormAct2d: SharedBatchNormAct}


def synchronize_batch_norms(module: nn.Module, *, on_cpu: bool = False) -> nn.Module:
    """Make batch norms, except frozen ones, share a batch's statistics between processes.

    Returns the module, changed in place, or what takes its place.
    """
    if isinstance(module, (StaysInEval, *SYNCHRONIZED)):
        return module
    if on_cpu and type(module) in SHARED:
        module.__class__ = SHARED[type(module)]
        return module
    if not on_cpu and type(module) in (*PLAIN, BatchNormAct2d):
        return convert_sync_batchnorm(module)  # timm's, which knows of the activation
    if isinstance(module, _BatchNorm):
        raise InputError(
            f"a {type(module).__name__} of the model cannot be synchronized between processes: "
            "train with --num-gpus 1"
        )
    return _with_children(module, partial(synchronize_batch_norms, on_cpu=on_cpu))


def _with_children(module: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, change(child))
    return module
