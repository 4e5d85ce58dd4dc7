"""An endless stream of training images that can be entered at any batch.

What comes at a position of the stream, and every random choice of its augmentation, depends on the
seed and the position alone: a training that goes on from a checkpoint sees what it would have seen.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.utils import comm
from torch.utils.data import IterableDataset, get_worker_info

ROUNDING = 1e-6  # of sums of factors that are whole
SECONDS_UNTIL_A_LOOK = 5.0  # of a worker for its parent, as often as PyTorch's own workers do


def seed_for(seed: int, position: int, rank: int = 0) -> None:
    """Seed all generators of this process for what comes at a position of a stream; ``rank`` is
    that of the process, where several are at the same position."""
    numbers = (seed, position, rank) if rank else (seed, position)
    mixed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    random.seed(mixed)
    np.random.seed(mixed % 2**32)  # noqa: NPY002 - Detectron2's augmentations draw from it
    torch.manual_seed(mixed)


def visits(records: Sequence[dict], threshold: float) -> np.ndarray:
    """(R,) int, how often each record comes in a round, so that rare classes are seen more often.

    It is Detectron2's repeat factor (LVIS, Appendix B.2) of the image's rarest class, max(1,
    sqrt(threshold / share of the images that have the class)), rounded down or up such that the
    first records, however many, come in all as often as their factors say, but for less than one.

    Args:
        records: with ``image_classes``, or else Detectron2's ``annotations``.
        threshold: a share of the images, 0 to 1.
    """
    labeled = [
        {"annotations": [{"category_id": c} for c in record["image_classes"]]}
        if "image_classes" in record
        else record
        for record in records
    ]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(labeled, threshold)
    until = np.floor(np.cumsum(factors.numpy().astype(np.float64)) + ROUNDING).astype(np.int64)
    return np.diff(until, prepend=0)


def _end_by_the_parent_alone() -> None:
    """Let a worker outlive Ctrl-C and SIGTERM that are sent to all processes: the one that trains
    saves first. PyTorch, for which a lost worker is an error, ends it by a SIGTERM of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigtimedwait"):  # on macOS nobody tells who has sent it
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    parent = os.getppid()

    def end() -> None:
        told = None
        # A killed parent tells nothing; PyTorch's worker sees it, but waits for its full queue.
        while (told is None or told.si_pid != parent) and os.getppid() == parent:
            told = signal.sigtimedwait({signal.SIGTERM}, SECONDS_UNTIL_A_LOOK)
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()


class TrainingStream(IterableDataset):
    """Records, shuffled anew each time all were seen; each worker yields whole batches in turn."""

    def __init__(
        self,
        records: Sequence[dict],
        *,
        batch_size: int,
        seed: int,
        start: int,
        visits: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            records: at least one; kept serialized, so that worker processes share them.
            visits: (R,) how often each comes in a round; once by default.
            batch_size: of each process that trains.
            seed: the same in all of them.
            start: the first batch, 0 at the beginning of a training.
        """
        self.records = DatasetFromList(list(records), copy=False)
        self.batch_size, self.seed, self.start = batch_size, seed, start
        self.round = np.repeat(np.arange(len(records)), 1 if visits is None else visits)
        self.rank, self.ranks = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[dict]:
        worker, size = get_worker_info(), len(self.round)
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            _end_by_the_parent_alone()
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for batch in itertools.count(self.start + first, step):
            for number in range(batch * self.batch_size, (batch + 1) * self.batch_size):
                position = number * self.ranks + self.rank
                if position // size != epoch:
                    epoch = position // size
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.round)
                record = self.records[order[position % size]]
                seed_for(self.seed, position)
                yield record
