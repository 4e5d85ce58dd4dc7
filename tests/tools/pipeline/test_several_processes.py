"""tools/run_pipeline.py where each training and evaluation has several processes, on the
processor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_pipeline import PIPELINE, raising
from torch.multiprocessing import ProcessRaisedException

from bestie_d2.errors import RAISED
from bestie_d2.model_keys import with_keys
from bestie_d2.pipeline import stages
from bestie_d2.pipeline.definition import read_pipeline
from bestie_d2.pipeline.stage_job import StageJob
from bestie_d2.pipeline.stage_processes import evaluate_stage

ALONE = "mrcnn_truth"  # reads no other stage, and learns from masks that its own stage registers
TWO_STEPS = (f"{ALONE}.SOLVER.MAX_ITER", "2", f"{ALONE}.SOLVER.CHECKPOINT_PERIOD", "1")


@pytest.fixture(scope="module", autouse=True)
def one_stage(project) -> None:
    head, _, _ = PIPELINE.partition("  pam:")
    (project / "tiny.yaml").write_text(f"{head}  {ALONE}: {{config: mrcnn.yaml}}\n")


def test_mask_rcnn_trains_and_is_measured_in_two_processes(run, project):
    folder = project / "out" / ALONE
    states, printed = run("--num-gpus", "2", *TWO_STEPS)
    assert states == {ALONE: "run"}
    assert "AP50" in printed
    for name in ("log.txt", "log.txt.rank1"):
        assert "Starting training from iteration 0" in (folder / name).read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    steps = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert steps[-1]["segm/AP50"] == manifest["figures"]["segm/AP50"]
    assert (folder / "model_0000000.pth").exists()
    assert run(*TWO_STEPS)[0] == {ALONE: "skip"}  # their number does not count
    pipeline = replace(read_pipeline("tiny.yaml", list(TWO_STEPS)), processes=2)
    given = {"OUTPUT_DIR": "evaluated", "MODEL.WEIGHTS": pipeline.product_of(ALONE)}
    Path("evaluated").mkdir()
    cfg = with_keys(StageJob(pipeline, ALONE).configs[ALONE], given)
    assert stages.headlines(evaluate_stage(pipeline, cfg))[0] == manifest["figures"]
    logs = [path.name for path in Path("evaluated").glob("log.txt*")]
    assert sorted(logs) == ["log.txt", "log.txt.rank1"]


def test_what_a_process_complains_of_is_told_with_the_stage(run, capsys, monkeypatch, project):
    line = f"Traceback ...\n{RAISED}image a.png: no such file\n"
    monkeypatch.setitem(stages.RUNS, ALONE, raising(ProcessRaisedException(line, 0, 1)))
    with pytest.raises(SystemExit) as stop:
        run("--redo", ALONE, *TWO_STEPS)
    assert stop.value.code == 2
    assert f"error: stage {ALONE}: image a.png: no such file\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "line"),
    [
        ("3", f"stage {ALONE}: SOLVER.IMS_PER_BATCH is 2, the batch of all 3 processes: expected"),
        ("0", "--num-gpus 0: expected 1 or more"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_before_anything_is_run(number, line, run, capsys):
    with pytest.raises(SystemExit) as stop:
        run("--dry-run", "--num-gpus", number)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")
