"""benchmarks/peaks.py at a small size: it runs, agrees with the max-pool and says so."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "peaks.py"


@pytest.fixture(autouse=True)
def _threads():
    """The script takes one thread for both sides; other tests get theirs back."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("peaks_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_benchmark_writes_what_it_prints(script, tmp_path, monkeypatch, capsys):
    report = tmp_path / "peaks.json"
    options = ["--classes", "4", "--height", "61", "--width", "80", "--kernel", "9"]
    monkeypatch.setattr(
        sys, "argv", [str(SCRIPT), *options, "--repeat", "2", "--json", str(report)]
    )
    script.main()
    printed = capsys.readouterr().out
    written = json.loads(report.read_text())
    assert (written["classes"], written["kernel"]) == (4, 9)
    for scene in ("realistic", "noise"):
        figures = written["scenes"][scene]
        assert scene in printed
        assert figures["peaks"] > 0
        assert figures["ratio"] == pytest.approx(figures["max_pool"] / figures["ours"])


def test_benchmark_stops_where_peaks_differ(script):
    heatmap = torch.rand(1, 20, 20)
    found = script.peaks_by_max_pool(heatmap, 5)
    with pytest.raises(SystemExit, match="differ in yx"):
        script.check_equal(found, found[1:])
