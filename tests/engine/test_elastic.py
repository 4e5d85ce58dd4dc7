"""A training by torchrun that loses a machine and gets another one, of one process each; `make
test-slow` runs it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from socket import create_connection, create_server

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(ROOT / "tools" / "train_net.py")
PATIENCE = 240  # seconds
LOST, CAME = 1, 3  # iterations after which a machine is lost, and another one comes
CLOSE = 0.05  # of the way from the first step: Adam makes much of what float32 rounds (seen: .011)

# Imported by EXTRA_MODULES. Steps are told in a file; where a machine shall be lost, and where the
# one that is left shall be joined, the training waits for it.
WAIT = f"""
import os, time
from pathlib import Path
from bestie_d2.engine.save_on_interrupt import SaveOnInterrupt

def after_step(self, undisturbed=SaveOnInterrupt.after_step):
    world = int(os.environ.get("WORLD_SIZE", 1))
    place = self.trainer.iter, world, os.environ.get("RANK"), os.environ.get("IN_PARTS")
    with open(self.trainer.cfg.OUTPUT_DIR + "_steps", "a") as steps:
        steps.write(f"{{self.trainer.iter}} {{world}}\\n")
    if place == ({LOST}, 2, "1", "1"):
        Path("writing").write_text(str(os.getpid()))
        os.rename("writing", "to_be_lost")
        time.sleep({PATIENCE})
    if place == ({CAME}, 1, "0", "1"):
        Path("alone").touch()
        while not self.asked:  # to end, by torchrun, which starts all again
            time.sleep(0.1)
    undisturbed(self)

SaveOnInterrupt.after_step = after_step
"""
TRAINING = (
    "--resume --config-file tiny.yaml EXTRA_MODULES ('wait',) DATASETS.TEST () "
    "SOLVER.IMS_PER_BATCH 4 SOLVER.MAX_ITER 6 SOLVER.CHECKPOINT_PERIOD 1 DATALOADER.NUM_WORKERS 0"
)
AGENT = (
    "-m torch.distributed.run --nnodes 1:2 --nproc-per-node 1 --max-restarts 3 --rdzv-backend c10d "
    "--rdzv-id tiny --rdzv-conf last_call_timeout=10 --rdzv-endpoint"
)


def started(folder: Path, *words: str, **environment: str) -> subprocess.Popen:
    with open(folder / "printed.txt", "a") as printed:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            stdout=printed,
            stderr=printed,
            env={**os.environ, **environment},
        )


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_open(port: int) -> bool:
    try:
        create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(4 * PATIENCE)
def test_a_machine_is_lost_and_another_one_comes(project):
    (project / "wait.py").write_text(WAIT)
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    of_parts = f"{AGENT} 127.0.0.1:{port} {TOOL} {TRAINING} OUTPUT_DIR in_parts".split()
    told = {"IN_PARTS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    first = started(project, *of_parts, **told)
    wait_for(lambda: is_open(port))  # it has the place to meet, so it stays
    lost = started(project, *of_parts, **told)
    wait_for((project / "to_be_lost").exists)
    lost.kill()
    os.kill(int((project / "to_be_lost").read_text()), SIGKILL)
    wait_for((project / "alone").exists)
    came = started(project, *of_parts, **told)
    assert [process.wait(PATIENCE) for process in (first, came)] == [0, 0]
    assert started(project, *f"{TOOL} {TRAINING} OUTPUT_DIR whole".split()).wait(PATIENCE) == 0

    steps = Counter((project / "in_parts_steps").read_text().splitlines())
    assert steps == {"0 2": 2, "1 2": 2, "2 1": 1, "3 1": 1, "4 2": 2, "5 2": 2}
    parts, whole, begun = (
        torch.load(project / name, weights_only=True)["model"]
        for name in ("in_parts/model_final.pth", "whole/model_final.pth", "whole/model_0000000.pth")
    )
    assert distance(parts, whole) < CLOSE * distance(begun, whole)


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of all weights; statistics of batch norms are no weights."""
    names = [name for name in one if "running" not in name]
    return math.dist(*(torch.cat([w[name].flatten() for name in names]) for w in (one, other)))
