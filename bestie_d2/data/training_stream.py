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

# Detectron2's names of how the stream takes images: all alike, those of rare classes more often
REPEATING_SAMPLER = "RepeatFactorTrainingSampler"
SAMPLERS = ("TrainingSampler", REPEATING_SAMPLER)
ROUNDING = 1e-6  # of sums of factors that are whole
AT_ONCE = 2**16  # positions of the stream that are put into batches
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
        wide: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            records: at least one; kept serialized, so that worker processes share them.
            visits: (R,) how often each comes in a round; once by default.
            wide: (R,) bool; a batch of all processes is then of wide records, or of others: each
                fills as its records come. By default records make batches as they come.
            batch_size: of each process that trains.
            seed: the same in all of them.
            start: the first batch, 0 at the beginning of a training.
        """
        self.records = DatasetFromList(list(records), copy=False)
        self.batch_size, self.seed, self.start, self.wide = batch_size, seed, start, wide
        self.round = np.repeat(np.arange(len(records)), 1 if visits is None else visits)
        self.rank, self.ranks = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[dict]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            _end_by_the_parent_alone()
        for batch in itertools.islice(self._batches(), first, None, step):
            for position, index in batch[self.rank :: self.ranks].tolist():
                record = self.records[index]
                seed_for(self.seed, position)
                yield record

    def _batches(self) -> Iterator[np.ndarray]:
        """(B, 2) int, the batches of all processes from ``start`` on: each picture's position in
        the stream, and the index of its record."""
        size = self.batch_size * self.ranks
        # Where batches are filled by shape, those before have to be filled again.
        gone, begin = (0, self.start * size) if self.wide is None else (self.start, 0)
        left = [np.empty((0, 2), dtype=np.int64)] * 2  # what does not fill a batch yet
        for drawn in self._drawn(begin):
            wide = np.zeros(len(drawn), bool) if self.wide is None else self.wide[drawn[:, 1]]
            filled = []
            for shape, alike in enumerate((wide, ~wide)):
                waiting = np.concatenate([left[shape], drawn[alike]])
                whole = len(waiting) // size * size
                filled.append(waiting[:whole].reshape(-1, size, 2))
                left[shape] = waiting[whole:]
            batches = np.concatenate(filled)
            yield from batches[np.argsort(batches[:, -1, 0])][gone:]  # the order they are full in
            gone = max(gone - len(batches), 0)

    def _drawn(self, start: int) -> Iterator[np.ndarray]:
        """(P, 2) int, parts of the stream from a position on, as batches have them."""
        size = len(self.round)
        for number in itertools.count(start // size):
            order = np.random.default_rng((self.seed, number)).permutation(self.round)
            for first in range(start % size, size, AT_ONCE):
                part = order[first : first + AT_ONCE]
                positions = np.arange(first, first + len(part)) + number * size
                yield np.stack([positions, part], axis=1)
            start = 0
