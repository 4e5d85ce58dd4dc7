"""How PyTorch's threads on the processor wait for each other.

GNU's OpenMP lets a thread that waits turn in a loop, 300,000 times where it may use as many cores
as there are threads. With two processes on the same cores each turns while the other could work.
``benchmarks/side_by_side.py`` measures it.
"""

from __future__ import annotations

import os

SPIN_COUNT = "GOMP_SPINCOUNT"
OF_THE_USER = (SPIN_COUNT, "OMP_WAIT_POLICY")
TURNS = 10_000  # then a thread sleeps; a process alone works as fast as with 300,000


def let_waiting_threads_sleep() -> None:
    """Set the number of turns, unless the user says how to wait.

    OpenMP reads it when torch is imported; processes started later inherit it.
    """
    if not any(name in os.environ for name in OF_THE_USER):
        os.environ[SPIN_COUNT] = str(TURNS)
