"""Ctrl-C and SIGTERM end a training after a checkpoint, in one process or in several at once."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import distributed

from bestie_d2.engine.command_line import STOPPED_BY, Terminated

STANDARD_OUTPUT = 1  # file descriptor
INTERRUPTED = b"\ninterrupted: saving after this step (Ctrl-C again stops at once)\n"
TOLD_TO_END = b"\ntold to end: saving after this step\n"

logger = logging.getLogger(__name__)


class SaveOnInterrupt(HookBase):
    """Saves a checkpoint after the step in which Ctrl-C or SIGTERM came, so that ``--resume`` loses
    nothing.

    The second one stops at once where one process trains. Several agree at each step whether one of
    them was told to, and save and end together; what tells them often comes to each, and twice.
    """

    trainer: Any  # the one of ``engine.trainer``
    asked: int = 0  # the signal
    previous: Mapping[int, Callable | int | None] = MappingProxyType({})

    def before_train(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._ask) for number in STOPPED_BY}

    def _ask(self, number: int, _: object) -> None:
        first, self.asked = not self.asked, number
        alone = comm.get_world_size() == 1
        if alone:
            self.after_train()
        # Not logged: the signal may have come in the middle of a line of the log.
        if first and comm.is_main_process():
            by_hand = alone and number == signal.SIGINT
            os.write(STANDARD_OUTPUT, INTERRUPTED if by_hand else TOLD_TO_END)

    def _agreed(self) -> int:
        """The signal that this process or another one got; 0 for none."""
        if comm.get_world_size() == 1:
            return self.asked
        told = torch.tensor(self.asked)  # on the processor: the device does not wait
        distributed.all_reduce(told, distributed.ReduceOp.MAX, comm._get_global_gloo_group())
        return int(told)

    def after_step(self) -> None:
        if asked := self._agreed():
            iteration = self.trainer.iter
            self.trainer._trainer.write_waiting_metrics()  # raises if weights have gone wrong
            self.trainer.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            logger.info("saved iteration %d; go on with --resume", iteration)
            comm.synchronize()  # whoever started them may end the others once one has ended
            raise Terminated if asked == signal.SIGTERM else KeyboardInterrupt
        if self.trainer.iter == self.trainer.max_iter - 1:
            self.after_train()  # all is saved: the evaluation that follows ends at once

    def after_train(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = MappingProxyType({})
