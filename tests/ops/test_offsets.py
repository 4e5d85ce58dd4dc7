import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bestie_d2.ops import offsets
from bestie_d2.ops.offsets import FAR, nearest_center, rescale_offsets


def nearest(votes: np.ndarray, centers: np.ndarray) -> list[int]:
    """Of one component's centers."""
    table = torch.from_numpy(np.asarray(centers, np.float32).T[None].copy())
    points = torch.from_numpy(np.asarray(votes, np.float32).T.copy())
    return nearest_center(*points.T, table, torch.zeros(len(points), dtype=torch.int64)).tolist()


def test_the_first_center_wins_a_tie():
    votes = np.array([[0.0, 4.0, 2.0], [0, 0, 0]])
    assert nearest(votes, [[0, 0], [4, 0]]) == [0, 1, 0]
    assert nearest(votes, [[0, 0], [4, 0], [4, 0]]) == [0, 1, 0]
    assert nearest(votes, [[9, 9]]) == [0, 0, 0]


def test_no_center_is_nearest_to_what_is_no_number():
    assert nearest(np.array([[np.nan, np.inf, 1e6], [0, 0, 0]]), [[0, 0], [4, 0]]) == [0, 0, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_nearest_center_equals_a_full_distance_table(seed, count):
    random = np.random.default_rng(seed)
    votes = random.uniform(-5, 40, (2, 50)).astype(np.float32)
    centers = random.integers(0, 35, (count, 2))
    table = ((votes.T[:, None] - centers[None].astype(np.float32)) ** 2).sum(-1)
    assert nearest(votes, centers) == table.argmin(1).tolist()


def test_votes_are_compared_with_the_centers_of_their_component_alone(monkeypatch):
    monkeypatch.setattr(offsets, "AT_ONCE", 4)  # two votes at a time
    centers = torch.tensor([[[0.0, 5.0], [0.0, 0.0]], [[9.0, FAR], [9.0, FAR]]])
    votes = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
    owners = torch.tensor([0, 1, 0, 1, 0])
    assert nearest_center(*votes.T, centers, owners).tolist() == [1, 0, 0, 0, 1]


def test_offsets_grow_with_their_map():
    scaled = rescale_offsets(torch.tensor([[[3.0]], [[4.0]]]), 2.0, 0.5)
    assert scaled.flatten().tolist() == pytest.approx([6.0, 2.0])
