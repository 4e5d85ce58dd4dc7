from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import build_detection_train_loader
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.utils import comm

from bestie_d2.data import training_stream
from bestie_d2.data.training_stream import TrainingStream, visits

RECORDS = [{"name": name} for name in "abcdefg"]


def draw(record: dict) -> tuple:
    """A record's name with a number from each generator, as an augmentation draws them."""
    numbers = (random.random(), np.random.random(), torch.rand(()).item())  # noqa: NPY002
    return (record["name"], *numbers)


def batches(count: int, *, start: int = 0, workers: int = 0, seed: int = 1) -> list[list[tuple]]:
    stream = TrainingStream(RECORDS, batch_size=2, seed=seed, start=start)
    loader = build_detection_train_loader(
        stream, mapper=draw, total_batch_size=2, aspect_ratio_grouping=False, num_workers=workers
    )
    return list(islice(loader, count))


def test_every_image_comes_once_before_any_comes_again():
    names = [name for batch in batches(14) for name, *_ in batch]
    rounds = [names[i : i + 7] for i in range(0, 28, 7)]
    assert all(sorted(names) == list("abcdefg") for names in rounds)
    assert len({tuple(names) for names in rounds}) > 1


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("start", [0, 3, 5])
def test_it_goes_on_as_if_it_had_never_stopped(start, workers):
    whole = batches(9)
    assert batches(9 - start, start=start, workers=workers) == whole[start:]


def test_rare_classes_come_more_often():
    cats, dogs = [{"image_classes": [0]}] * 6, [{"annotations": [{"category_id": 1}]}] * 2
    # sqrt(1 / .75) = 1.15 and sqrt(1 / .25) = 2: sums of 1.15, 2.31, ..., 6.93, 8.93 and 10.93
    assert visits(cats + dogs, 1.0).tolist() == [1, 1, 1, 1, 1, 1, 2, 2]
    assert visits(cats[:1] * 2 + dogs * 3, 1.0).tolist() == [2, 2, 1, 1, 1, 1, 1, 1]  # 2, 4, 5.15
    assert visits(cats + dogs, 0.25).tolist() == [1] * 8
    often = np.array([1, 3, 1, 1, 2, 1, 1])
    stream = TrainingStream(RECORDS, batch_size=2, seed=1, start=0, visits=often)
    names = [record["name"] for record in islice(stream, 20)]
    assert sorted(names[:10]) == sorted(names[10:]) == list("abbbcdeefg")
    assert names[:10] != names[10:]


@pytest.mark.parametrize("start", [0, 1, 4, 9])
def test_pictures_of_one_shape_make_a_batch(start, monkeypatch):
    """As batches of Detectron2's are filled, of however many at once, and wherever it goes on."""
    monkeypatch.setattr(training_stream, "AT_ONCE", 4)
    wide = np.array([True, False, False, True, False, False, False])
    rounds = [np.random.default_rng((1, epoch)).permutation(7).tolist() for epoch in range(20)]
    order = itertools.chain(*rounds)
    sizes = ({"index": i, "width": 2 if wide[i] else 1, "height": 1} for i in order)
    filled = AspectRatioGroupedDataset(sizes, 4)
    expected = [[item["index"] for item in batch] for batch in filled]
    assert len(expected) > 30
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        stream = TrainingStream(RECORDS, batch_size=2, seed=1, start=start, wide=wide)
        numbers = ["abcdefg".index(record["name"]) for record in islice(stream, 40)]
        shares.append(zip(numbers[::2], numbers[1::2], strict=True))
    found = [[a, c, b, d] for (a, b), (c, d) in zip(*shares, strict=True)]
    assert found == expected[start : start + 20]


def test_another_seed_is_another_order_and_other_numbers():
    one, other = batches(7), batches(7, seed=2)
    assert [[name for name, *_ in batch] for batch in one] != [
        [name for name, *_ in batch] for batch in other
    ]
    numbers = [item[1:] for batch in one + other for item in batch]
    assert len({number for triple in numbers for number in triple}) == 3 * len(numbers)


def test_processes_share_the_stream(monkeypatch):
    alone = [item for batch in batches(6) for item in batch]
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        stream = TrainingStream(RECORDS, batch_size=1, seed=1, start=1)
        shares.append([draw(record) for record in islice(stream, 4)])
    together = [item for pair in zip(*shares, strict=True) for item in pair]
    assert together == alone[2:10]


ORPHAN = """
import os, signal
from torch.utils.data import DataLoader
from bestie_d2.data.training_stream import TrainingStream

records = [{"image_classes": [0], "much": b"x" * 2**20}]  # more than the pipe to the parent holds
stream = TrainingStream(records, batch_size=1, seed=0, start=0)
iterator = iter(DataLoader(stream, batch_size=None, num_workers=1))
next(iterator)
print(iterator._workers[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="no system tells who has signalled")
def test_a_worker_does_not_outlive_a_parent_that_was_killed():
    command = [sys.executable, "-W", "ignore", "-c", ORPHAN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert parent.wait() == -signal.SIGKILL
    end = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < end
        time.sleep(0.2)
