"""Where the stages of one process log to: each into its own folder, little on the console."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

LOG_FILE = "log.txt"
LOGGERS = ("bestie_d2", "detectron2", "fvcore")
PROGRESS = "detectron2.utils.events"  # a line every 20 steps, with the losses
TALKATIVE = "fvcore.common.checkpoint"  # lists all keys that a start from other weights leaves
FORMAT = logging.Formatter("[%(asctime)s %(name)s] %(levelname)s: %(message)s", "%m/%d %H:%M:%S")


def _for_console(record: logging.LogRecord) -> bool:
    warns = record.levelno >= logging.WARNING and record.name != TALKATIVE
    return warns or record.name == PROGRESS


@contextlib.contextmanager
def logging_to(folder: str) -> Iterator[None]:
    """Log, and print, into a folder's ``log.txt``; show warnings and a training's progress.

    Takes the place of Detectron2's ``setup_logger``, whose files stay open as long as the process
    and would get the messages of later stages too.
    """
    console = logging.StreamHandler(sys.stdout)
    console.addFilter(_for_console)
    console.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    file = logging.FileHandler(os.path.join(folder, LOG_FILE), encoding="utf-8")
    file.setFormatter(FORMAT)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(console)
        logger.addHandler(file)
    try:
        with contextlib.redirect_stdout(file.stream):
            yield
    finally:
        for logger in loggers:
            logger.removeHandler(console)
            logger.removeHandler(file)
        file.close()
