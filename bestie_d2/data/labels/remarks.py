"""What a reader passed over, or took in another way than it was written: told once, and kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from detectron2.utils.logger import log_first_n

logger = logging.getLogger(__name__)

_remarks: dict[str, list[str]] = {}  # of the last reading, by data set


def keep_remarks(dataset_name: str, lines: Sequence[str]) -> None:
    """Log the lines, and keep them for who asks about the data set."""
    _remarks[dataset_name] = list(lines)
    for line in lines:
        log_once(line)


def remarks_of(dataset_name: str) -> list[str]:
    """What was to be told of a data set when it was last read."""
    return list(_remarks.get(dataset_name, ()))


def log_once(line: str, level: int = logging.INFO) -> None:
    """Log a line the first time: a set is read several times in a run."""
    log_first_n(level, line, name=logger.name, key="message")
