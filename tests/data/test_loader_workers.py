from __future__ import annotations

import multiprocessing
import time

import pytest
from torch.utils.data import DataLoader, Dataset

from bestie_d2.data.loader_workers import tell_of_full_memory


class Functions(Dataset):
    """What cannot travel to another process."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> object:
        return lambda: index


def test_what_a_worker_cannot_hand_on_is_raised_and_not_waited_for():
    """tests/engine/test_faults.py has it of shared memory."""
    tell_of_full_memory()
    loader = DataLoader(Functions(), batch_size=None, num_workers=1, collate_fn=lambda item: item)
    with pytest.raises(Exception, match="in a loader's process") as raised:
        next(iter(loader))
    assert "pickle" in str(raised.value)


def test_other_processes_queues_are_left_as_they_are(capfd):
    tell_of_full_memory()
    queue = multiprocessing.Queue()
    queue.put((0, lambda: 0))
    end = time.monotonic() + 30
    told = ""
    while "pickle" not in told and time.monotonic() < end:
        time.sleep(0.01)
        told += capfd.readouterr().err
    assert told.startswith("Traceback")
    assert queue.empty()
