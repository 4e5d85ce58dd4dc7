"""One step of training: mixed precision on any device, and losses that are read now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor

from bestie_d2.data.training_stream import seed_for
from bestie_d2.engine.detectron2_seam import take_running_loader

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # SOLVER.AMP.DTYPE
LOG_PERIOD = 20  # iterations between two readings of the losses; Detectron2's writers have the same

logger = logging.getLogger(__name__)


def on_cpu(cfg: CfgNode) -> bool:
    """Whether the model is trained on the processor."""
    return torch.device(cfg.MODEL.DEVICE).type == "cpu"


def autocast_dtype(cfg: CfgNode) -> torch.dtype | None:
    """What convolutions and products are computed in; None for float32.

    A processor without instructions for bfloat16 would be slower with it than without.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    if on_cpu(cfg) and not cpu_has_bfloat16():
        logger.warning("this processor has no instructions for bfloat16: training in float32")
        return None
    return PRECISIONS[cfg.SOLVER.AMP.DTYPE]


def cpu_has_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 on this processor."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class TrainingStep(SimpleTrainer):
    """Detectron2's step, under autocast if asked, that does not wait for the device.

    Losses stay where they are for ``LOG_PERIOD`` steps; then they are read in one transfer,
    averaged over all processes, and written.
    """

    def __init__(
        self,
        plain: SimpleTrainer,
        *,
        seed: int,
        dtype: torch.dtype | None,
        checkpoint_period: int,
        last: int,
    ) -> None:
        """
        Args:
            plain: the step that Detectron2 has built; its running loader is taken over.
            seed: each iteration's own random numbers, others on each process, follow from it;
                below 0 none do.
            dtype: of autocast; None for none. Gradients are scaled if it is float16.
            checkpoint_period: losses are also read every so many iterations, lest weights are saved
                that have gone wrong ...
            last: ... and at this iteration.
        """
        self._batches = take_running_loader(plain)
        self.__dict__.update(plain.__dict__)  # its own __init__ would start the loader once more
        self.seed = seed
        self.device_type = next(self.model.parameters()).device.type
        self.dtype = dtype
        self.checkpoint_period = checkpoint_period
        self.last = last
        scaled = dtype == torch.float16
        self.grad_scaler = torch.amp.GradScaler(self.device_type, enabled=scaled)
        self._waiting: list[dict[str, Tensor]] = []
        self._data_times: list[float] = []

    def read_from(self, data_loader: Iterable[list[dict]]) -> None:
        """Take the next batches from another loader; the workers of the one before end."""
        self.data_loader = data_loader
        self._batches = iter(data_loader)

    def run_step(self) -> None:
        """Data, losses, gradients, optimizer.

        Raises:
            FloatingPointError: when losses are read and one is no number.
        """
        start = time.perf_counter()
        data = next(self._batches)
        self._data_times.append(time.perf_counter() - start)
        if self.seed >= 0:
            seed_for(self.seed, self.iter, comm.get_rank())
        enabled = self.dtype is not None
        with torch.autocast(self.device_type, dtype=self.dtype, enabled=enabled):
            losses = self.model(data)
            total = sum(losses.values())
        self.optimizer.zero_grad()
        self.grad_scaler.scale(total).backward()
        self._waiting.append({name: loss.detach() for name, loss in losses.items()})
        periods = (LOG_PERIOD, self.checkpoint_period)
        if self.iter == self.last or any((self.iter + 1) % period == 0 for period in periods):
            self.read_losses()
        self.grad_scaler.unscale_(self.optimizer)  # the optimizer may clip before it unscales
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def read_losses(self) -> None:
        """Write what was lost since the last reading to the event storage, step by step.

        Raises:
            FloatingPointError: a loss is no number.
        """
        if not self._waiting:
            return
        names = list(self._waiting[0])
        steps = [torch.stack([losses[name] for name in names]) for losses in self._waiting]
        gathered = comm.gather((torch.stack(steps).tolist(), self._data_times))
        self._waiting, self._data_times = [], []
        if comm.is_main_process():
            means = np.mean([losses for losses, _ in gathered], axis=0)
            slowest = np.max([times for _, times in gathered], axis=0)
            for losses, data_time in zip(means.tolist(), slowest.tolist(), strict=True):
                self._write(dict(zip(names, losses, strict=True)), data_time)

    def _write(self, losses: Mapping[str, float], data_time: float) -> None:
        storage, total = get_event_storage(), sum(losses.values())
        if not np.isfinite(total):
            raise FloatingPointError(
                f"a loss became infinite or NaN before iteration {storage.iter}: {dict(losses)}"
            )
        storage.put_scalar("data_time", data_time)
        storage.put_scalars(total_loss=total, **losses)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        state = state_dict.get("grad_scaler")
        if state:  # empty where it was trained without one
            self.grad_scaler.load_state_dict(state)
