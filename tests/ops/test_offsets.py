import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bestie_d2.ops.offsets import FEW, nearest_center, rescale_offsets


def test_the_first_center_wins_a_tie():
    y, x = np.array([0.0, 4.0, 2.0]), np.zeros(3)
    assert nearest_center(y, x, np.array([[0, 0], [4, 0]])).tolist() == [0, 1, 0]
    assert nearest_center(y, x, np.array([[9, 9]])).tolist() == [0, 0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_nearest_center_equals_a_full_distance_table(seed, count):
    random = np.random.default_rng(seed)
    votes = random.uniform(-5, 40, (2, 50)).astype(np.float32)
    centers = random.integers(0, 35, (count, 2))
    table = ((votes.T[:, None] - centers[None]) ** 2).sum(-1)
    assert nearest_center(*votes, centers).tolist() == table.argmin(1).tolist()


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_many_votes_go_where_a_full_distance_table_sends_them(spread):
    random = np.random.default_rng(0)
    centers = random.integers(0, 90, (8, 2))
    around = centers[random.integers(0, 8, FEW // 8 + 1)]
    votes = (around + random.normal(0, spread, around.shape)).astype(np.float32).T
    votes[:, :3] = [[1e6, np.nan, np.inf], [0, 0, 0]]  # no center is nearest to the last two
    table = ((votes.T[:, None] - centers[None].astype(np.float32)) ** 2).sum(-1)
    expected = np.where(np.isfinite(table).all(1), table.argmin(1), 0)
    assert nearest_center(*votes, centers).tolist() == expected.tolist()


def test_a_center_far_outside_costs_no_memory():
    centers = np.array([[0, 0], [20, 0], [0, 3_000_000]])
    y, x = np.repeat(np.float32([0, 19, 0]), FEW // 6), np.zeros(3 * (FEW // 6), np.float32)
    x[-1] = 2_000_000
    tracemalloc.start()
    nearest = nearest_center(y, x, centers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.bincount(nearest).tolist() == [2 * (FEW // 6) - 1, FEW // 6, 1]
    assert peak < 40 * len(y)  # bytes


def test_among_many_votes_too_the_first_of_equal_centers_wins():
    centers = np.array([[0, 0], [40, 0], [40, 0]])
    y = np.repeat(np.float32([0, 20, 40]), FEW // 3)
    nearest = nearest_center(y, np.zeros_like(y), centers)
    assert [np.unique(part).tolist() for part in np.split(nearest, 3)] == [[0], [0], [1]]


def test_offsets_grow_with_their_map():
    scaled = rescale_offsets(torch.tensor([[[3.0]], [[4.0]]]), 2.0, 0.5)
    assert scaled.flatten().tolist() == pytest.approx([6.0, 2.0])
