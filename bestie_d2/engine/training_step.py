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
from bestie_d2.errors import InputError

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
    transfer, averaged over all processes, and written; an InputError if one is no number, which
    names the iteration and its pictures.
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
        # Losses, seconds for the data, names of the pictures
        self._waiting: list[tuple[dict[str, Tensor], float, list[str]]] = []

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
        detached = {name: loss.detach() for name, loss in loss_dict.items()}
        self._waiting.append((detached, data_time, [str(datum.get("file_name")) for datum in data]))
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
        steps, times, pictures = zip(*self._waiting, strict=True)
        stacked = torch.stack([torch.stack([losses[name] for name in names]) for losses in steps])
        gathered = comm.all_gather((stacked.tolist(), times, pictures))  # all stop, or none
        self._waiting = []
        storage = get_event_storage()
        means = np.mean([losses for losses, _, _ in gathered], axis=0)
        slowest = np.max([took for _, took, _ in gathered], axis=0)
        first = self.iter + 1 - len(steps)
        for number, (values, data_time) in enumerate(zip(means.tolist(), slowest, strict=True)):
            losses, total = dict(zip(names, values, strict=True)), sum(values)
            if not np.isfinite(total):
                seen = ", ".join(name for _, _, shown in gathered for name in shown[number])
                raise InputError(
                    f"a loss became infinite or NaN at iteration {first + number}: {losses}, "
                    f"of the pictures {seen}; look at them, or lower SOLVER.BASE_LR, and go on "
                    "from the last checkpoint with --resume"
                )
            storage.put_scalars(data_time=float(data_time), total_loss=total, **losses)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        state = state_dict.get("grad_scaler")
        if state:  # empty where it was trained without one
            self.grad_scaler.load_state_dict(state)
