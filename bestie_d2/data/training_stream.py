"""An endless stream of training images that can be entered at any batch.

What comes at a position of the stream, and every random choice of its augmentation, depends on the
seed and the position alone: a training that goes on from a checkpoint sees what it would have seen.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import IterableDataset, get_worker_info

NUMPY_SEEDS = 2**32  # NumPy takes a seed below it


def seed_for(seed: int, position: int, rank: int = 0) -> None:
    """Seed all generators of this process for what comes at a position of a stream.

    Args:
        rank: of the process, where several are at the same position.
    """
    numbers = (seed, position, rank) if rank else (seed, position)
    mixed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    random.seed(mixed)
    np.random.seed(mixed % NUMPY_SEEDS)  # noqa: NPY002 - Detectron2's augmentations draw from it
    torch.manual_seed(mixed)


class TrainingStream(IterableDataset):
    """Records, shuffled anew each time all were seen; each worker yields whole batches in turn."""

    def __init__(self, records: Sequence[dict], *, batch_size: int, seed: int, start: int) -> None:
        """
        Args:
            records: at least one; kept serialized, so that worker processes share them.
            batch_size: of each process that trains.
            seed: the same in all of them.
            start: the first batch, 0 at the beginning of a training.
        """
        self._records = DatasetFromList(list(records), copy=False)
        self._batch_size = batch_size
        self._seed = seed
        self._start = start
        self._rank, self._ranks = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[dict]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for batch in itertools.count(self._start + first, step):
            for number in range(batch * self._batch_size, (batch + 1) * self._batch_size):
                position = number * self._ranks + self._rank
                if position // len(self._records) != epoch:
                    epoch = position // len(self._records)
                    order = np.random.default_rng((self._seed, epoch)).permutation(
                        len(self._records)
                    )
                record = self._records[order[position % len(self._records)]]
                seed_for(self._seed, position)
                yield record
