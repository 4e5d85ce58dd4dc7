import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bestie_d2.ops.offsets import nearest_center, rescale_offsets, vote


def test_vote_follows_the_offsets():
    offset = np.zeros((2, 3, 4), np.float32)
    offset[:, 1, 2] = [0.5, -2.0]
    y, x = vote(offset, np.array([0, 1]), np.array([3, 2]))
    assert y.tolist() == [0.0, 1.5]
    assert x.tolist() == [3.0, 0.0]


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


def test_offsets_grow_with_their_map():
    scaled = rescale_offsets(torch.tensor([[[3.0]], [[4.0]]]), 2.0, 0.5)
    assert scaled.flatten().tolist() == pytest.approx([6.0, 2.0])
