"""tools/run_pipeline.py never throws away what is finished, whatever changed, and refuses a second
run. A chain of two stages, which take seconds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_pipeline import SHORT, TOOL, raising, shorten

from bestie_d2.pipeline import stages
from bestie_d2.storage.processes import only_run_in
from bestie_d2.weights.reading import read_weights

FASTER = (*SHORT, "pam.SOLVER.BASE_LR", "0.5")
SKIPPED = {"pam": "skip", "cues": "skip"}
CHANGED = "SOLVER.BASE_LR was 0.002, is 0.5"

# Runs the tool, and dies between moving a finished stage aside and beginning it anew.
DIES_BETWEEN = """
import os, runpy, signal, sys
from bestie_d2.pipeline.state import StageRecord
set_aside = StageRecord.set_aside
def set_aside_and_die(self):
    set_aside(self)
    os.kill(os.getpid(), signal.SIGKILL)
StageRecord.set_aside = set_aside_and_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module", autouse=True)
def short_chain(project) -> None:
    shorten(project)


@pytest.fixture
def out(project, run) -> Path:
    """The output of a finished chain, made once."""
    if not (project / "out" / "cues" / "manifest.json").exists():
        run(*SHORT)
    return project / "out"


@pytest.fixture
def fails(run, capsys):
    """Run the tool, which has to end with exit code 2; returns all lines, and that of the error."""

    def call(*arguments: str) -> tuple[str, str]:
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 2
        printed, complaints = capsys.readouterr()
        (line,) = complaints.strip().splitlines()
        return printed, line

    return call


def test_what_no_product_depends_on_changes_nothing(out, run):
    def trained_elsewhere(manifest: dict) -> None:
        manifest["config"]["MODEL.DEVICE"] = "cuda"
        manifest["config"]["MODEL.NO_LONGER_KNOWN"] = 3
        del manifest["config"]["MODEL.CHANNELS_LAST"]  # a key that came later

    before = contents(out / "pam")
    for stage in ("pam", "cues"):
        edit(out / stage / "manifest.json", trained_elsewhere)
    others = {
        "DATALOADER.NUM_WORKERS": "1",
        "SOLVER.CHECKPOINT_PERIOD": "3",
        "TEST.EVAL_PERIOD": "2",
        "VIS_PERIOD": "1",
        "TEST.LABEL_PROGRESS.IMAGES": "1",
        "OUTPUT_DIR": "elsewhere",
        "INPUT.MIN_SIZE_TEST": "32",  # which cues do depend on: theirs is put back below
    }
    words = [word for key, value in others.items() for word in (f"pam.{key}", value)]
    states, _ = run(*SHORT, *words, "cues.INPUT.MIN_SIZE_TEST", "800")
    assert states == SKIPPED
    states, _ = run(*SHORT)
    assert states == SKIPPED
    after = contents(out / "pam")
    del before["manifest.json"], after["manifest.json"]
    assert after == before


def test_data_under_another_path_is_the_same(out, run, project):
    (project / "moved").symlink_to(project)
    moved = (project / "pam.yaml").read_text().replace(f"{project}/", f"{project}/moved/")
    moved = moved.replace("chain_", "moved_")
    (project / "moved.yaml").write_text(moved)
    tiny = (project / "tiny.yaml").read_text().replace("pam.yaml", "moved.yaml")
    (project / "moved_tiny.yaml").write_text(tiny.replace("chain_", "moved_"))
    states, _ = run(*SHORT, config="moved_tiny.yaml")
    assert states == SKIPPED


def test_a_changed_learning_rate_stops_the_command(out, fails):
    before = contents(out)
    printed, line = fails(*FASTER)
    assert [text.split()[:2] for text in printed.splitlines()[1:]] == [
        ["pam", "changed"],
        ["SOLVER.BASE_LR", "was"],
        ["cues", "check"],
    ]
    assert CHANGED in printed
    assert line.startswith(f"error: stage pam: {CHANGED}. To make it and what depends on it anew")
    assert "--redo pam" in line
    assert "kept as out/pam.1" in line
    assert contents(out) == before


def test_a_dry_run_only_says_it(out, run):
    before = contents(out)
    states, printed = run("--dry-run", *FASTER)
    assert states == {"pam": "changed", "cues": "check"}
    assert CHANGED in printed
    states, _ = run("--dry-run", "--redo", "pam", *FASTER)
    assert states == {"pam": "redo", "cues": "check"}
    assert contents(out) == before


def test_a_manifest_of_an_older_version_is_taken(out, run, fails, project):
    def forget(manifest: dict) -> None:
        manifest.update(config="f00", inputs={**manifest["inputs"], "data": "ba4"})
        del manifest["data"]

    for stage in ("pam", "cues"):
        whole = (out / stage / "manifest.json").read_bytes()
        edit(out / stage / "manifest.json", forget)
        states, printed = run(*SHORT)
        assert states == SKIPPED
        assert printed.count("written by an older version") == 1
        if stage == "pam":
            _, line = fails(*FASTER)
            assert CHANGED in line
        (out / stage / "manifest.json").write_bytes(whole)


def test_redo_keeps_the_old_folder_and_redoes_what_follows(out, run):
    before = {stage: contents(out / stage) for stage in ("pam", "cues")}
    states, printed = run("--redo", "pam", *FASTER)
    assert states == {"pam": "redo", "cues": "redo"}
    assert "as --redo made pam anew" in printed
    for stage, files in before.items():
        assert contents(out / f"{stage}.1") == files
    assert contents(out / "pam")["model_final.pth"] != before["pam"]["model_final.pth"]
    assert run(*FASTER)[0] == SKIPPED


def test_a_kill_after_moving_aside_loses_nothing(out, run, project):
    before = contents(out / "pam")
    arguments = ["--config", "tiny.yaml", "--redo", "pam", *SHORT]
    command = [sys.executable, "-c", DIES_BETWEEN, str(TOOL), *arguments]
    died = subprocess.run(command, cwd=project, capture_output=True, timeout=200)
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    assert contents(out / "pam.2") == before
    assert list((out / "pam").glob("*")) == []
    states, _ = run(*SHORT)  # without --redo: it is known what follows
    assert states == {"pam": "run", "cues": "redo"}
    assert contents(out / "pam.2") == before
    assert (out / "cues.2" / "cues.json").exists()


def test_an_interrupted_redo_is_gone_on_with(out, run, monkeypatch, capsys):
    kept = contents(out / "pam")
    monkeypatch.setitem(stages.RUNS, "cues", raising(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as stop:
        run("--redo", "pam", *FASTER)
    assert stop.value.code == 130
    assert "give the same command without --redo" in capsys.readouterr().out
    monkeypatch.undo()
    (out / "pam" / "manifest.json").unlink()  # as if it had been killed in pam
    states, printed = run("--redo", "pam", *FASTER)
    assert states == {"pam": "resume", "cues": "resume"}
    assert "its --redo was interrupted" in printed
    assert contents(out / "pam.3") == kept
    assert not (out / "pam.4").exists()


def test_an_interrupted_stage_with_results_is_not_thrown_away(out, fails, run):
    (out / "pam" / "manifest.json").unlink()
    before = contents(out)
    printed, line = fails(*SHORT)
    assert "was interrupted, but is out of date" in printed
    assert "SOLVER.BASE_LR was 0.5, is 0.002" in line
    assert contents(out) == before
    assert run(*FASTER)[0] == {"pam": "resume", "cues": "skip"}


def test_a_second_run_is_refused(out, fails):
    before = contents(out)
    with only_run_in(out, "output"):
        _, line = fails(*FASTER)
    assert line.startswith("error: output out: another run is working there (process ")
    with only_run_in(out / "pam", "OUTPUT_DIR"):  # a training by hand in a stage's folder
        _, line = fails("--redo", "pam", *SHORT)
    assert line.startswith("error: output out/pam: another run is working there (process ")
    del before["report.html"]
    after = contents(out)
    after.pop("report.html")
    assert after == before


@pytest.mark.parametrize("left", [None, b"PK\x03\x04 torn"])
def test_a_kill_while_the_last_checkpoint_was_saved_loses_nothing(left, out, run):
    run(*FASTER)
    final, whole = out / "pam" / "model_final.pth", (out / "pam" / "model_final.pth").read_bytes()
    (out / "pam" / "manifest.json").unlink()
    final.unlink()
    if left:
        final.write_bytes(left)
    (out / "pam" / "last_checkpoint").write_text("model_0000003.pth")  # of the last iteration too
    assert run(*FASTER)[0]["pam"] == "resume"
    saved, before = (read_weights(str(path)) for path in (final, out / "pam" / "model_0000003.pth"))
    assert saved["iteration"] == before["iteration"] == 3
    assert all(torch.equal(saved["model"][key], before["model"][key]) for key in before["model"])
    assert len(whole) == pytest.approx(final.stat().st_size, rel=0.01)


def test_where_no_checkpoint_is_whole_the_stage_says_so(out, fails):
    (out / "pam" / "manifest.json").unlink()
    for path in (out / "pam").glob("model_*.pth"):
        path.write_bytes(b"torn")
    _, line = fails(*FASTER)
    assert line.startswith("error: stage pam: checkpoint out/pam/model_final.pth: not readable")
    assert line.endswith(
        "no checkpoint of out/pam is whole: put one back, or start anew in another OUTPUT_DIR"
    )
