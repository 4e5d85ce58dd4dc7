"""One step of training: mixed precision on any device, and losses that are read now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from bestie_d2.checks.training import PRECISIONS, on_cpu
from bestie_d2.data.training_stream import seed_for
from bestie_d2.detectron2_seam import SimpleTrainer

GATHER_METRIC_PERIOD = 20  # iterations between two readings of the losses; that of the writers too

logger = logging.getLogger(__name__)


def autocast_dtype(cfg: CfgNode) -> torch.dtype | None:
    """What convolutions and products are computed in; None for float32, also where a processor
    without instructions for bfloat16 would be slower with it."""
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    if on_cpu(cfg) and not cpu_has_bfloat16():
        logger.warning("this processor has no instructions for bfloat16: training in float32")
        return None
    return PRECISIONS[cfg.SOLVER.AMP.DTYPE]


def cpu_has_bfloat16() -> bool:
    """Whether this processor has instructions for it."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class TrainingStep(SimpleTrainer):
    """Detectron2's step, with autocast on any device, that does not wait for the device.

    Losses stay where they are for ``GATHER_METRIC_PERIOD`` steps; then they are read in one
    transfer, averaged over all processes, and written; a FloatingPointError if one is no number.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[dict]],
        optimizer: torch.optim.Optimizer,
        *,
        seed: int,
        precision: torch.dtype | None,
        checkpoint_period: int,
        last: int,
    ) -> None:
        """
        Args:
            seed: of each iteration's random numbers, which differ between processes; none below 0.
            precision: of autocast; None for none. Gradients are scaled if it is float16.
            checkpoint_period, last: losses are also read every so many iterations and at the last,
                lest weights are saved that have gone wrong.
        """
        super().__init__(model, data_loader, optimizer)
        self.seed, self.precision = seed, precision
        self.device_type = next(model.parameters()).device.type
        scaled = precision == torch.float16
        self.grad_scaler = torch.amp.GradScaler(self.device_type, enabled=scaled)
        self._periods, self._last = (GATHER_METRIC_PERIOD, checkpoint_period), last
        self._waiting: list[tuple[dict[str, Tensor], float]] = []  # losses, seconds for the data

    def run_step(self) -> None:
        start = time.perf_counter()
        data = self.next_batch()
        data_time = time.perf_counter() - start
        if self.seed >= 0:
            seed_for(self.seed, self.iter, comm.get_rank())
        enabled = self.precision is not None
        with torch.autocast(self.device_type, dtype=self.precision, enabled=enabled):
            loss_dict = self.model(data)
            losses = sum(loss_dict.values())
        self.optimizer.zero_grad()
        self.grad_scaler.scale(losses).backward()
        self._waiting.append(({name: loss.detach() for name, loss in loss_dict.items()}, data_time))
        done = self.iter + 1
        if self.iter == self._last or any(done % period == 0 for period in self._periods):
            self.write_waiting_metrics()
        self.grad_scaler.unscale_(self.optimizer)  # the optimizer may clip before it unscales
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def write_waiting_metrics(self) -> None:
        """Write the losses since the last time to the event storage, step by step."""
        if not self._waiting:
            return
        names = list(self._waiting[0][0])
        steps = [torch.stack([losses[name] for name in names]) for losses, _ in self._waiting]
        gathered = comm.gather((torch.stack(steps).tolist(), [took for _, took in self._waiting]))
        self._waiting = []
        if comm.is_main_process():
            storage = get_event_storage()
            means = np.mean([losses for losses, _ in gathered], axis=0)
            slowest = np.max([times for _, times in gathered], axis=0)
            for values, data_time in zip(means.tolist(), slowest.tolist(), strict=True):
                losses, total = dict(zip(names, values, strict=True)), sum(values)
                if not np.isfinite(total):
                    raise FloatingPointError(
                        f"a loss became infinite or NaN before iteration {storage.iter}: {losses}"
                    )
                storage.put_scalars(data_time=data_time, total_loss=total, **losses)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        state = state_dict.get("grad_scaler")
        if state:  # empty where it was trained without one
            self.grad_scaler.load_state_dict(state)
