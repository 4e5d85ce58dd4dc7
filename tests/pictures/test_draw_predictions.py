"""The tools that draw: predictions of a trained model, and the demonstration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAM = ["MODEL.META_ARCHITECTURE", "PAMClassifier"]


@pytest.fixture(scope="module")
def checkpoint(project) -> str:
    """A model of the tiny configuration, as good as untrained."""
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", "tiny.yaml",
         "SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()", "OUTPUT_DIR", "drawn"],
        cwd=project, check=True, capture_output=True, timeout=280,
    )  # fmt: skip
    return str(project / "drawn" / "model_final.pth")


@pytest.mark.parametrize(("dataset", "columns"), [("tiny_val", 5), ("tiny_train", 5)])
def test_draw_predictions(project, run_tool, checkpoint, dataset, columns):
    """A set without truth shows its points in place of it."""
    folder = f"pictures_{dataset}"
    done = run_tool(
        "draw_predictions.py", "--config-file", "tiny.yaml", "--dataset", dataset, "--num", "4",
        "MODEL.WEIGHTS", checkpoint, "OUTPUT_DIR", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    files = [Path(project, line) for line in done.stdout.split()]
    assert [file.name for file in files] == ["predictions_1.png", "predictions_2.png"]
    first, second = (np.array(Image.open(file)) for file in files)
    assert first.shape[0] > 2 * second.shape[0]  # three rows and one
    assert round(first.shape[1] / 384) >= columns


def test_what_cannot_be_drawn_is_told(run_tool):
    for arguments, line in (
        (["--dataset", "nowhere"], "--dataset: data set 'nowhere' is not registered"),
        (["--num", "0"], "--num 0: expected 1 or more"),
        ([], "no weights"),
        (PAM, "draw_predictions: MODEL.META_ARCHITECTURE is 'PAMClassifier', expected 'BESTIE'"),
    ):
        done = run_tool(
            "draw_predictions.py", "--config-file", "tiny.yaml", *arguments, "OUTPUT_DIR", "empty"
        )
        assert done.returncode == 2
        assert done.stderr == f"error: {line}\n" or done.stderr.startswith(f"error: {line}")
