"""The time that a stage took, over all runs that worked on it: kept in its folder meanwhile, so
that a kill loses little of the count."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from bestie_d2.errors import InputError
from bestie_d2.storage.files import read_json, write_json

TIME_FILE = "time.json"
SECONDS, PROCESSOR_SECONDS = "seconds", "processor_seconds"  # names in the file
PERIOD = 20.0  # seconds between two writings: what a kill loses at most


class SpentTime:
    """Seconds on the clock, and of the processors: user and system time of this process and of its
    children that have ended; with those of earlier runs that the folder knows of."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder, TIME_FILE)
        self._start = _clocks()
        self._earlier = dict.fromkeys(self._start, 0.0)
        try:
            found = read_json(self._path)
            earlier = {key: float(found[key]) for key in self._start}
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return  # a first run
        if all(map(math.isfinite, earlier.values())):
            self._earlier = earlier

    def total(self) -> dict[str, float]:
        """``SECONDS`` and ``PROCESSOR_SECONDS`` so far."""
        now = _clocks()
        return {
            key: round(self._earlier[key] + now[key] - start, 1)
            for key, start in self._start.items()
        }

    def keep(self) -> None:
        """Write it down."""
        write_json(self._path, self.total())


def _clocks() -> dict[str, float]:
    times = os.times()
    ours = times.user + times.system + times.children_user + times.children_system
    return {SECONDS: time.monotonic(), PROCESSOR_SECONDS: ours}


@contextmanager
def spent_time(folder: str) -> Iterator[SpentTime]:
    """Count the time of the block, in a folder that is there; it is written down every ``PERIOD``
    and at the end, however that comes."""
    spent, over = SpentTime(folder), Event()

    def keep() -> None:
        while not over.wait(PERIOD):
            try:
                spent.keep()
            except InputError:  # a full disk: the stage says so, or the next writing succeeds
                continue

    thread = Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield spent
    finally:
        over.set()
        thread.join()
        gc.collect()  # loaders' processes end with what refers to them: their time counts here
        spent.keep()
