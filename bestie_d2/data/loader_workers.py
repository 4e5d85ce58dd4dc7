"""Where a loader's processes find shared memory full, through which they hand pictures on."""

from __future__ import annotations

import errno
import traceback
from multiprocessing import synchronize
from multiprocessing.queues import Queue
from typing import Any

from torch._utils import ExceptionWrapper
from torch.utils.data import get_worker_info

from bestie_d2.errors import InputError

SHARED_MEMORY_FULL = (
    "shared memory (/dev/shm), through which the processes of DATALOADER.NUM_WORKERS hand pictures "
    "on, is full: make it larger (docker run --shm-size 8g; on Kubernetes a volume of medium Memory"
    "), or set DATALOADER.NUM_WORKERS 0, which needs none, and go on with --resume"
)
PYTORCHS_WORDS = ("shared memory", "No space left")


def tell_of_full_memory() -> None:
    """Let processes of loaders that begin from now on raise what keeps them from handing on what
    they have made; else Python prints it, and the loader waits for the lost pictures for ever."""
    Queue._on_queue_feeder_error = _hand_on  # type: ignore[attr-defined]


def _hand_on(queue: Queue, error: Exception, item: Any) -> None:
    """In place of Python's own: ``item`` is what could not be sent, a loader's number and data."""
    if get_worker_info() is None or not isinstance(item, tuple):
        traceback.print_exception(error)
        return
    told = InputError(SHARED_MEMORY_FULL) if _is_of_shared_memory(error) else error
    wrapped = ExceptionWrapper((type(told), told, None), where="in a loader's process")
    queue.put((item[0], wrapped))


def lacks_semaphores(error: BaseException) -> bool:
    """Whether shared memory has no room for what processes tell each other by, of some KiB: the
    error has no word of it, so its place says so."""
    return (isinstance(error, OSError) and error.errno == errno.ENOSPC) and any(
        frame.f_globals.get("__name__") == synchronize.__name__
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _is_of_shared_memory(error: Exception) -> bool:
    return all(words in str(error) for words in PYTORCHS_WORDS)
