"""What a training meets with in a long night: each ends it with one line, and --resume comes to the
weights of a training that met with nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

pytestmark = pytest.mark.slow

TOOL = Path(__file__).resolve().parents[2] / "tools" / "train_net.py"
LAST = "13"

# Each argument is a run FOLDER:FAULT:STEP, in a process of its own with one worker, whose exit code
# is printed. The fault comes before the run's step number STEP.
RUNS = """
import os, runpy, signal, subprocess, sys, torch
from multiprocessing import active_children
from bestie_d2.engine.training_step import TrainingStep

def sigterm():
    # As SLURM does: to the worker too, and from a process that is not its parent.
    subprocess.run(["sh", "-c", f"kill -s TERM -- -{os.getpgrp()}"])

def worker():
    os.kill(active_children()[0].pid, signal.SIGKILL)

def memory():
    def full(*_):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_0>: "
                           "No space left on device (28)")
    torch.UntypedStorage._share_fd_cpu_ = full  # as PyTorch has it, where a worker hands it on

def pictures():
    os.rename("images", "images_elsewhere")

def disturb(fault, number):
    def run_step(self, undisturbed=TrainingStep.run_step, steps=iter(range(100))):
        if next(steps) == number:
            globals()[fault]()
        undisturbed(self)
    TrainingStep.run_step = run_step

tool, last, *runs = sys.argv[1:]
for number, run in enumerate(runs):
    folder, fault, step = run.split(":")
    child = os.fork()
    if child == 0:
        os.setsid()
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        if fault:
            disturb(fault, int(step))
        sys.argv = [
            tool, "--config-file", "tiny.yaml", "--resume", "OUTPUT_DIR", folder,
            "SOLVER.MAX_ITER", str(int(last) + 1), "SOLVER.CHECKPOINT_PERIOD", "5",
            "DATASETS.TEST", "()", "DATALOADER.NUM_WORKERS", "1",
        ]
        runpy.run_path(tool, run_name="__main__")
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if os.path.exists("images_elsewhere"):
        os.rename("images_elsewhere", "images")
"""


class Run(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def runs(project) -> dict[str, Run]:
    """One training that met with one fault after the other, and one with nothing."""
    given = [
        "hard:sigterm:7",
        "hard:pictures:1",
        "hard:worker:1",
        "hard:memory:0",
        "hard::",
        "easy::",
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(TOOL), LAST, *given],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    codes = [int(line) for line in done.stdout.split()]
    texts = [
        [(project / f"{number}.{name}").read_text() for name in ("out", "err")]
        for number in range(len(given))
    ]
    return {run: Run(code, *text) for run, code, text in zip(given, codes, texts, strict=True)}


def test_sigterm_saves_the_step_and_has_its_own_exit_code(runs, project):
    run = runs["hard:sigterm:7"]
    assert (run.code, run.err) == (143, "terminated; what was written so far is kept\n")
    assert "saved iteration 7; go on with --resume" in run.out
    assert (project / "hard" / "model_0000007.pth").exists()
    assert "Starting training from iteration 8" in runs["hard:pictures:1"].out


def test_a_picture_that_disappears_is_named(runs):
    run = runs["hard:pictures:1"]
    assert run.code == 2
    assert re.fullmatch(r"error: image .*/images/\d\.png: no such file.*\n", run.err)
    assert "Traceback" not in run.out


def test_shared_memory_that_is_full_is_told(runs):
    """Else Python prints a traceback, and the training waits for the lost batch for ever."""
    run = runs["hard:memory:0"]
    assert run.code == 2
    assert run.err.startswith(
        "error: shared memory (/dev/shm), through which the processes of DATA"
    )
    assert run.err.endswith(
        "or set DATALOADER.NUM_WORKERS 0, which needs none, and go on with --resume\n"
    )
    assert run.err.count("\n") == 1
    assert "Traceback" not in run.out


def test_a_worker_that_is_killed_is_told(runs):
    run = runs["hard:worker:1"]
    assert run.code == 1
    told = (  # by who notices first: PyTorch's handler of SIGCHLD, the next batch, its connection
        r"DataLoader worker \(pid \d+\) is killed by signal: Killed",
        r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly",
        r"a DataLoader worker has exited unexpectedly",
    )
    assert re.fullmatch(
        rf"error: ({'|'.join(told)}): the system kills one where memory, or shared memory, is "
        r"short; lower DATALOADER\.NUM_WORKERS, and go on with --resume\n",
        run.err,
    )
    assert "Traceback" not in run.out


def test_the_weights_are_those_of_a_training_that_met_with_nothing(runs, project):
    assert [runs[name].code for name in ("hard::", "easy::")] == [0, 0]
    hard, easy = (
        torch.load(project / name / "model_final.pth", weights_only=True)
        for name in ("hard", "easy")
    )
    assert hard["iteration"] == easy["iteration"] == int(LAST)
    assert all(torch.equal(hard["model"][key], easy["model"][key]) for key in easy["model"])
