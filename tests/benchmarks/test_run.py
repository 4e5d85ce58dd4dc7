"""The benchmark's command at a small size: it prints and writes figures, and stops where ours and
the reference differ."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cases
import cv2
import loader
import measuring
import pytest
import run
import torch
from measuring import growth, largest_mib, median_times, peak_mib
from time_split import split_of_inference, split_of_step

MIB = 2**20


@pytest.fixture(autouse=True)
def _threads():
    """The command sets the number of threads; other tests get theirs back."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def small(monkeypatch):
    """Two lines and one growing function of a few pixels."""

    def lines(only):
        return [cases.transfer(count, (60, 60)) for count in (1, 4)] if "transfer" in only else []

    monkeypatch.setattr(cases, "all_cases", lines)
    monkeypatch.setattr(
        cases, "sizes", lambda function, count: [(s**2, function(2, (s, s))) for s in (40, 80)]
    )


def test_the_command_writes_what_it_prints(small, tmp_path, monkeypatch, capsys):
    report = tmp_path / "figures.json"
    options = ["--only", "transfer,growth", "--repeat", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["run.py", *options, "--json", str(report)])
    run.main()
    printed = capsys.readouterr().out
    written = json.loads(report.read_text())
    assert [row["scene"] for row in written["functions"]] == [
        "1 separate, 60x60",
        "4 separate, 60x60",
    ]
    for row in written["functions"]:
        assert row["scene"] in printed
        assert row["ratio"] == pytest.approx(row["reference_ms"] / row["ours_ms"])
    grows = [(row["function"], row["grows_with"]) for row in written["growth"]]
    assert grows == [("transfer", "instances")] + [
        (name, "pixels") for name in ("refinement", "decoding", "transfer")
    ]


def test_every_function_has_its_lines():
    functions = [case.function for case in cases.all_cases(["peaks", "transfer"])]
    assert functions == ["transfer"] * 4 + ["peaks"] * 2


def test_a_part_that_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--only", "peaks,trainings"])
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2
    assert "'trainings' is none of refinement" in capsys.readouterr().err


@pytest.mark.parametrize("num_classes", [3, 7])
def test_losses_and_their_gradients_equal_those_written_out(num_classes):
    case = cases.losses(num_classes, 3, (60, 70))
    ours = case.ours()
    case.check(ours, case.plain())
    assert [tuple(t.shape) for t in ours] == [(), (4, num_classes, 60, 70), (4, 2, 60, 70)]
    assert min(t.abs().max() for t in ours) > 0


def test_it_stops_where_ours_and_the_reference_differ():
    case = cases.decoding(2, (40, 60))
    masks, classes, scores = case.ours()
    with pytest.raises(AssertionError, match="classes differ"):
        case.check((masks, classes + 1, scores), case.plain())
    with pytest.raises(AssertionError, match="masks differ"):
        case.check((masks.flip(-1), classes, scores), case.plain())
    with pytest.raises(AssertionError, match="scores differ"):
        case.check((masks, classes, scores / 2), case.plain())


def test_growth_is_the_power_of_the_amount():
    assert growth([1, 10, 100], [3, 30, 300]) == pytest.approx(1)
    assert growth([1, 4, 16], [5, 10, 20]) == pytest.approx(0.5)


def test_times_are_medians_of_runs_in_turn():
    order = []
    times = median_times({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "ababab"
    assert set(times) == {"a", "b"}


def test_peak_memory_counts_what_was_freed_again():
    def run_and_free() -> float:
        return float(torch.ones(16 * MIB).sum())  # 64 MiB

    peak = peak_mib(run_and_free)
    if peak is None:
        pytest.skip("this system does not tell a process's largest resident size")
    assert 60 < peak < 90


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell it")
def test_the_largest_size_is_that_of_this_process_alone():
    large = bytearray(b"1" * 512 * MIB)
    words = [sys.executable, "-c", "import measuring; print(measuring.largest_mib())"]
    folder = Path(measuring.__file__).parent
    told = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    assert 5 < float(told.stdout) < 256
    assert largest_mib() > len(large) / MIB


def test_the_split_of_a_training_step(tmp_path):
    overrides = ["SOLVER.IMS_PER_BATCH", "1", "DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"]
    split = split_of_step(
        str(run.TRAINING_CONFIG), [*overrides, "OUTPUT_DIR", str(tmp_path)], steps=1
    )
    assert set(split) == {"data", "forward", "refinement", "backward", "optimizer"}
    assert min(split.values()) > 0
    off = [*overrides, "OUTPUT_DIR", str(tmp_path), "MODEL.BESTIE.REFINEMENT.ENABLED", "False"]
    assert split_of_step(str(run.TRAINING_CONFIG), off, steps=1)["refinement"] == 0


def test_the_split_of_inference(tmp_path):
    overrides = ["DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    split = split_of_inference(str(run.TRAINING_CONFIG), overrides, images=2)
    assert split["images/s"] == pytest.approx(1000 / (split["maps"] + split["grouping"]))
    assert min(split.values()) > 0


def test_the_split_of_the_mapper_and_the_loaders_rate(monkeypatch, capsys):
    monkeypatch.setattr(loader, "IMAGES", 2)
    monkeypatch.setattr(loader, "BATCHES", 1)
    monkeypatch.setattr(run, "WORKERS", (1,))
    monkeypatch.setattr(sys, "argv", ["run.py", "--only", "loader", "--repeat", "1"])
    run.main()
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines() if "," in line]
    figures = {row[0]: float(row[-1]) for row in rows}
    parts = ["read image, ms", "read map, ms", "augment, ms", "pseudo labels, ms"]
    assert list(figures) == [*parts, "whole mapper, ms", "images/s, 1 worker(s)"]
    assert min(figures.values()) > 0
