"""The time of a stage, over several runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from bestie_d2.pipeline import spent_time as module
from bestie_d2.pipeline.spent_time import TIME_FILE, spent_time
from bestie_d2.pipeline.state import Sources, StageRecord

BURN = "import time\nwhile time.process_time() < 0.7: pass"


def test_time_of_processors_has_the_childrens(tmp_path):
    with spent_time(str(tmp_path)) as spent:
        before = spent.total()
        subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
    after = json.loads((tmp_path / TIME_FILE).read_text())
    assert before["processor_seconds"] < 0.5
    assert 0.7 <= after["processor_seconds"] < 1.4
    assert after["seconds"] >= 0.7


def test_time_is_kept_meanwhile_and_added_up(tmp_path, monkeypatch):
    (tmp_path / TIME_FILE).write_text('{"seconds": 100.0, "processor_seconds": 150.0}')
    monkeypatch.setattr(module, "PERIOD", 0.01)
    with spent_time(str(tmp_path)):
        end = time.monotonic() + 60
        while time.monotonic() < end:  # a kill would leave this
            kept = json.loads((tmp_path / TIME_FILE).read_text())
            if kept["seconds"] > 100.0:
                break
            time.sleep(0.02)
    assert 100.0 < kept["seconds"] < 160.0
    assert kept["processor_seconds"] >= 150.0


def test_a_stage_that_is_begun_anew_starts_from_nothing(tmp_path):
    record = StageRecord(str(tmp_path))
    for resume, there in ((False, False), (True, True), (False, False)):
        record.begin(Sources({}, {}, {}), resume=resume)
        assert (tmp_path / TIME_FILE).exists() == there
        (tmp_path / TIME_FILE).write_text('{"seconds": 1.0, "processor_seconds": 1.0}')
    assert not record.has_results


@pytest.mark.parametrize("seconds", ["", "NaN", "1" + "0" * 400, "[" * 100_000])
def test_a_torn_file_counts_as_none(seconds, tmp_path):
    (tmp_path / TIME_FILE).write_text(f'{{"processor_seconds": 1.0, "seconds": {seconds}}}')
    with spent_time(str(tmp_path)) as spent:
        assert spent.total()["seconds"] < 60
