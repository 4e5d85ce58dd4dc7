"""The tutorial, run whole as it stands but for the length of its training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_lines import lines_of, run_line
from documents import ROOT, code_cells
from PIL import Image

from bestie_d2.data.picture_files import MARK_OF_RESULTS

TUTORIAL = "docs/tutorial.ipynb"
ITERATIONS = 2


def run_cell(text: str, names: dict[str, object]) -> None:
    """As IPython does: after ``!`` comes a command, with names in braces; the rest is Python."""
    if text.startswith("!"):
        (line,) = lines_of(text[1:])
        run_line(line.format(**names), {})
    else:
        exec(compile(text, TUTORIAL, "exec"), names)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch, forget_data_sets, loggers_as_before, capsys):
    monkeypatch.chdir(tmp_path)
    first, *cells = code_cells(TUTORIAL)
    names: dict[str, object] = {"__name__": "__main__"}
    run_cell(first, names)
    assert names["ITERATIONS"] > ITERATIONS
    names["ITERATIONS"] = ITERATIONS
    for cell in cells:
        run_cell(cell, names)
    printed = capsys.readouterr().out
    (weak_maps,) = (cell for cell in cells if "make-weak-maps" in cell)
    options = weak_maps[weak_maps.index("--method") : weak_maps.index(" --points")]
    assert f" {options} --points" in printed  # init's own advice
    written = {path.relative_to("tutorial/found") for path in names["FOLDER"].glob("found/**/*")}
    by_command = names["FOLDER"].glob("predicted/**/*")
    names_there = {path.relative_to("tutorial/predicted") for path in by_command}
    assert names_there - written == {Path(MARK_OF_RESULTS)}
    assert not written - names_there
    for number in range(3):
        name = f"labels/new_{number}.png"
        ours, others = (
            np.array(Image.open(tmp_path / "tutorial" / f / name)) for f in ("found", "predicted")
        )
        assert ours.shape == (128, 128)
        assert (ours == others).all()


def test_it_is_kept_without_what_a_run_adds():
    content = json.loads((ROOT / TUTORIAL).read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"]] == []
