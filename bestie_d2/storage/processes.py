"""Work that is shared between processes, item by item and in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pool


@contextmanager
def mapping(jobs: int) -> Iterator[Callable]:
    """``imap`` of so many processes, or the built-in ``map``."""
    if jobs == 1:
        yield map
        return
    # Ctrl-C is the main process's to handle.
    with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool.imap
