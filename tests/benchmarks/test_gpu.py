"""The script for a GPU runs on a processor too."""

import sys

import gpu


def test_it_compares_trainings_with_and_without_refinement(monkeypatch, capsys):
    options = ["gpu.py", "--device", "cpu", "--tiny", "--steps", "1"]
    monkeypatch.setattr(gpu, "WARM_UP", 0)
    monkeypatch.setattr(gpu, "BATCHES", 1)
    monkeypatch.setattr(sys, "argv", options)
    gpu.main()
    told = capsys.readouterr().out
    assert "batch 2, 64x64, cpu" in told
    assert "without refinement" in told
    assert "refinement costs" in told
