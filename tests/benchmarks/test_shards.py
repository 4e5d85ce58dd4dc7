"""What the simulation of large sets reads is what it has written, whichever way it reads."""

from __future__ import annotations

from itertools import chain

import numpy as np
import shards

STORED = 7


def test_every_way_reads_the_same_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "A_SHARD", 3)
    monkeypatch.setattr(shards, "PARTS", {"jpg": 700, "png": 512, "json": 5})
    index = shards.write_samples(tmp_path, STORED)
    assert index["shard"].tolist() == [0, 0, 0, 1, 1, 1, 2]
    numbers = np.arange(STORED)
    written = list(shards.from_files(tmp_path, numbers))
    assert [[len(part) for part in sample] for sample in written] == [[700, 512, 5]] * STORED
    assert list(shards.in_turn(tmp_path, 3)) == written
    at_random = np.array([4, 0, 6, 4])
    assert list(shards.by_place(tmp_path, index, at_random)) == [written[n] for n in at_random]


def test_a_training_takes_an_index_in_its_order():
    index = np.empty(5 * shards.BATCH, shards.INDEX)
    index["shard"], index["place"] = np.arange(len(index)), 512
    seen = [shards.first_batch(index, start) for start in range(5)]
    assert sorted(chain(*seen)) == index.tolist()
    assert list(chain(*seen)) != index.tolist()
