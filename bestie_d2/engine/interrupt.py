"""Ctrl-C during training: finish the step, save it, then stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from detectron2.engine import HookBase
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer

STANDARD_OUTPUT = 1  # file descriptor
TOLD = b"\ninterrupted: saving after this step (Ctrl-C again stops at once)\n"

logger = logging.getLogger(__name__)


class SaveOnInterrupt(HookBase):
    """Saves a checkpoint after the step in which Ctrl-C came, so that ``--resume`` loses nothing.

    A second Ctrl-C stops at once. Only where one process trains: several would stop at different
    steps and wait for each other.
    """

    def __init__(self, checkpointer: Checkpointer, check: Callable[[], None]) -> None:
        """
        Args:
            check: called before weights are saved; raises if they have gone wrong.
        """
        self.check = check
        self.checkpointer = checkpointer
        self.asked = False
        self.previous = None

    def before_train(self) -> None:
        main_thread = threading.current_thread() is threading.main_thread()
        if comm.get_world_size() == 1 and main_thread:
            self.previous = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()
        # Not logged: the signal may have come in the middle of a line of the log.
        os.write(STANDARD_OUTPUT, TOLD)

    def after_step(self) -> None:
        if self.asked:
            self.check()
            iteration = self.trainer.iter
            self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            logger.info("saved iteration %d; go on with --resume", iteration)
            raise KeyboardInterrupt

    def after_train(self) -> None:
        self._restore()

    def _restore(self) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)
            self.previous = None
