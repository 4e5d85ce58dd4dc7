"""tools/run_pipeline.py, stopped at random moments again and again; `make test-slow` runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch
from tiny_pipeline import PIPELINE, STAGES, TOOL

MINUTES = float(os.environ.get("BESTIE_D2_SOAK_MINUTES", "30"))
STOPS = {  # exit codes of the tool; the negative ones are Python's, while the tool is imported
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {143, -signal.SIGTERM},
    signal.SIGINT: {130, -signal.SIGINT},
}
LONGEST = 15  # seconds to the first stop; later each time, lest a stage never ends
PATIENCE = 600  # seconds for what was told to end, or is not stopped any more
PRODUCTS = ("cues/cues.json", "maps/weak_maps/1.png", "export/pseudo_labels.json")


def chain(project: Path, output: str) -> subprocess.Popen:
    """The tool, begun or gone on with, in a group of processes of its own."""
    config = project / f"{output}.yaml"
    config.write_text(PIPELINE.replace("output: out", f"output: {output}"))
    command = [sys.executable, str(TOOL), "--config", config.name]
    with open(project / f"{output}.txt", "a") as printed:
        return subprocess.Popen(
            command, cwd=project, stdout=printed, stderr=printed, start_new_session=True
        )


def stopped(process: subprocess.Popen, seconds: float, stop: signal.Signals) -> bool:
    """Whether it was stopped then; False where it had ended by itself, as it should."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        if stop is signal.SIGKILL:
            os.killpg(process.pid, stop)
        else:
            process.send_signal(stop)
        code = process.wait(PATIENCE)
    assert code in {0, *STOPS[stop]}
    return code != 0


def products(folder: Path) -> tuple[dict, dict]:
    """Figures and files, and the weights, of all stages."""
    found: dict = {name: (folder / name).read_bytes() for name in PRODUCTS}
    for stage in STAGES:
        manifest = json.loads((folder / stage / "manifest.json").read_text())
        found[stage] = manifest["figures"]
    weights = {path.parent.name: path for path in folder.glob("*/model_final.pth")}
    return found, {s: torch.load(p, weights_only=False)["model"] for s, p in weights.items()}


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(60 * MINUTES + 4 * PATIENCE)
def test_stops_at_random_moments_change_nothing(project):
    assert chain(project, "clean").wait(PATIENCE) == 0
    figures, weights = products(project / "clean")
    random, counts, runs = Random(0), Counter[str](), 0
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        output, longest, runs = f"soak{runs}", LONGEST, runs + 1
        while True:
            stop = random.choice(list(STOPS))
            longest *= 1.1
            if not stopped(chain(project, output), random.uniform(0, longest), stop):
                break
            counts[stop.name] += 1
        found, others = products(project / output)
        assert found == figures
        assert others.keys() == weights.keys()
        for stage, values in others.items():
            assert all(torch.equal(weights[stage][name], values[name]) for name in values)
    print(f"{runs} runs, stopped by {dict(counts)}")
