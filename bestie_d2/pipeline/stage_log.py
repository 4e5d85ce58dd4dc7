"""What a stage says while it runs: all of it in its folder, warnings and progress on the screen."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from bestie_d2.pipeline.state import LOG_FILE

PROGRESS = "detectron2.utils.events"  # a line every 20 steps, with the losses
TALKATIVE = "fvcore.common.checkpoint"  # lists all keys that a start from other weights leaves
FORMAT = "[%(asctime)s %(name)s] %(levelname)s: %(message)s"


@contextlib.contextmanager
def logging_to(folder: str, rank: int = 0) -> Iterator[None]:
    """Log, and print, into a folder's ``log.txt``; show warnings and a training's progress.

    Takes the place of Detectron2's ``setup_logger``, whose files stay open as long as the process
    and would get the messages of later stages too.

    Args:
        rank: of this process among those that train; others than the first one have a file of
            their own, ``log.txt.rank1`` and so on, and show nothing.
    """
    console = logging.StreamHandler(sys.stdout)
    console.addFilter(_for_console)
    console.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    name = f"{LOG_FILE}.rank{rank}" if rank else LOG_FILE
    file = logging.FileHandler(os.path.join(folder, name), encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT, "%m/%d %H:%M:%S"))
    loggers = [logging.getLogger(name) for name in ("bestie_d2", "detectron2", "fvcore")]
    handlers: list[logging.Handler] = [file] if rank else [console, file]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(file.stream):
            yield
    finally:
        for logger in loggers:
            for handler in handlers:
                logger.removeHandler(handler)
        file.close()


def _for_console(record: logging.LogRecord) -> bool:
    warns = record.levelno >= logging.WARNING and record.name != TALKATIVE
    return warns or record.name == PROGRESS
