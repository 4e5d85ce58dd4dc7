"""Curves out of metrics.json, as trainings leave it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from bestie_d2.report.run_files import MAX_POINTS, StageFiles, read_lines, thinned


def test_curves_of_a_training_that_was_killed_and_resumed(pipeline, tmp_path):
    path = tmp_path / "pam" / "metrics.json"
    path.parent.mkdir()
    path.write_text(
        '{"iteration": 19, "total_loss": 4.0, "lr": 0.1}\n'
        '{"iteration": 39, "total_loss": 3.0}\n'
        '{"iteration": 59, "total_lo\n'  # torn by the kill
        '{"iteration": 39, "total_loss": 2.5}\n'  # and gone over again
        '{"iteration": 59, "total_loss": 2, "segm/AP": 11.5, "segm/APl": NaN}\n'
        '{"segm/AP": 12.0}\n'  # an evaluation of weights whose iteration nobody knows
        '["no", "object"]\n'
    )
    curves = StageFiles(replace(pipeline, output=str(tmp_path)), "pam").curves()
    assert curves["total_loss"] == [(19, 4.0), (39, 2.5), (59, 2.0)]
    assert curves["segm/AP"] == [(59, 11.5)]
    assert "segm/APl" not in curves
    assert len(read_lines(str(path))) == 5
    assert read_lines(str(path))[-1] == {"segm/AP": 12.0}


def test_no_file_is_no_curve(elsewhere):
    assert StageFiles(elsewhere, "pam").curves() == {}
    assert read_lines(str(Path(elsewhere.output, "metrics.json"))) == []


def test_long_curves_are_thinned_to_their_last_point():
    short = [(1, 0.5), (2, 0.25)]
    assert thinned(short) == short
    assert thinned([]) == []
    for count in (MAX_POINTS, MAX_POINTS + 1, 50 * MAX_POINTS - 1):
        curve = [(iteration, math.sqrt(iteration)) for iteration in range(count)]
        thin = thinned(curve)
        assert MAX_POINTS / 2 <= len(thin) <= MAX_POINTS
        assert thin[-1] == curve[-1]
        steps = {b[0] - a[0] for a, b in pairwise(thin)}
        assert len(steps) == 1
