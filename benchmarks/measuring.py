"""Time, memory and growth of functions, side by side in one process."""

from __future__ import annotations

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MILLISECONDS = 1e3
KIB, MIB = 2**10, 2**20
PEAK_RESET = "5"  # what /proc/self/clear_refs takes to forget the largest resident size


def median_times(runs: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median milliseconds of each, run in turn so that all meet the same load."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(MILLISECONDS * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_mib(run: Callable[[], object]) -> float | None:
    """MiB by which a run raises the largest resident size of this process, its result included;
    None where the system does not tell."""
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not clear.exists():
        return None
    run()  # once before: what is imported and cached belongs to no single run
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory would be taken again unnoticed
    clear.write_text(PEAK_RESET)
    before = _resident(status)["VmRSS"]
    result = run()
    after = _resident(status)["VmHWM"]
    del result
    return (after - before) * KIB / MIB


def largest_mib() -> float:
    """MiB of this process's largest resident size; NaN where the system does not tell.

    ``getrusage`` would also count what the process that started it had.
    """
    status = Path("/proc/self/status")
    return _resident(status)["VmHWM"] * KIB / MIB if status.exists() else float("nan")


def _resident(status: Path) -> dict[str, int]:
    """The process's sizes in KiB by name."""
    lines = (line.split() for line in status.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}


def growth(amounts: Sequence[float], times: Sequence[float]) -> float:
    """Slope of log time over log amount by least squares: 1 where twice takes twice as long."""
    x, y = [math.log(a) for a in amounts], [math.log(t) for t in times]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)
