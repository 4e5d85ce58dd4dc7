"""Folders that trainings leave, with weights that never learned anything but see something."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from bestie_d2.engine.configuration import load_config, setup_run
from bestie_d2.weights.checkpoint import BestieCheckpointer

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
BESTIE_YAML = """
_BASE_: "{folder}/base.yaml"
MODEL:
  DEVICE: "cpu"
  BESTIE: {{NUM_CLASSES: 2, TEST: {{MIN_AREA: 4}}}}
DATASETS:
  CUSTOM:
    - {{name: "{folder}/gone", images: "{folder}/images", tags: "{folder}/tags.csv"}}
  TRAIN: ("{folder}/gone",)
  TEST: ("{folder}/gone",)
INPUT: {{MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 200}}
OUTPUT_DIR: "{folder}/output"
"""


def run_folder(folder: Path, text: str, classes: list[str]) -> Path:
    """What a training leaves, moved to another place and with all that it was made from gone."""
    base = (CONFIGS / "bestie_shapes.yaml").read_text()
    (folder / "base.yaml").write_text(base.replace("Base-BESTIE", f"{CONFIGS}/Base-BESTIE"))
    file = folder / "mine.yaml"
    file.write_text(text.format(folder=folder, configs=CONFIGS))
    cfg = load_config(str(file))
    setup_run(cfg, argparse.Namespace(config_file=str(file), eval_only=False, opts=[]))
    torch.manual_seed(0)
    model = build_model(cfg)
    for name, weights in model.named_parameters():
        if name in ("head.seg.2.weight", "head.center.2.weight"):
            torch.nn.init.normal_(weights, std=1.0)  # sees something
    BestieCheckpointer(model, cfg.OUTPUT_DIR, classes=classes).save("model_0000007")
    moved = folder / "elsewhere" / "mine"
    shutil.move(folder / "output", moved)
    file.unlink()
    (folder / "base.yaml").unlink()
    return moved


@pytest.fixture(scope="session")
def finish_run() -> Callable[[Path, str, list[str]], Path]:
    """Makes a folder out of a configuration, with ``{folder}`` and ``{configs}``, and classes."""
    return run_folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """Of a BESTIE that tells two classes apart."""
    return run_folder(tmp_path_factory.mktemp("bestie"), BESTIE_YAML, ["cat", "hund"])
