"""A finished run of a tiny pipeline, made by hand: nothing in it was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from bestie_d2.engine.trainer import Trainer
from bestie_d2.pipeline.definition import Pipeline, read_pipeline
from bestie_d2.pipeline.stage_job import StageJob
from bestie_d2.pipeline.state import Sources, StageRecord

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = """
name: hand <made>
supervision: tags
output: {folder}/run
train_set: report_train
test_set: tiny_val
stages:
  pam: {{config: report_pam.yaml}}
  cues: {{}}
  wsss: {{config: report_wsss.yaml}}
  maps: {{}}
  bestie: {{config: report_bestie.yaml}}
  export: {{score_threshold: 0.1}}
  mrcnn: {{config: report_mrcnn.yaml}}
  evaluate: {{}}
"""
LOSSES = {"total_loss": 2.0, "loss_sem_seg": 1.5, "loss_center_pseudo": 0.5}
QUALITY = {
    f"{kind}_labels/{name}": value
    for kind in ("pseudo", "refined")
    for name, value in (
        ("true_positives", 5), ("labels", 8), ("objects", 12), ("precision", 62.5), ("recall", 41.7)
    )
}  # fmt: skip
EVALUATION = {"segm/AP": 10.0, "segm/AP50": 20.0, "voc_instance/mAP50": 30.0}


def write_lines(path: Path, *lines: dict) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def pipeline(project) -> Pipeline:
    """Stages with configurations over the tiny data set; nothing of it is run."""
    files = {"images": f"{project}/images", "annotations": f"{project}/annotations.json"}
    custom = [
        {"name": "report_train", **files, "tags": f"{project}/annotations.json"},
        {"name": "tiny_val", **files, "weak_maps": f"{project}/maps"},
    ]
    for stage in ("pam", "wsss", "bestie", "mrcnn"):
        node = {"mrcnn": "ROI_HEADS"}.get(stage, stage.upper())
        content = {
            "_BASE_": f"{ROOT}/configs/{stage}_shapes.yaml",
            "MODEL": {"DEVICE": "cpu", node: {"NUM_CLASSES": 1}},
            "DATASETS": {"CUSTOM": custom},
        }
        (project / f"report_{stage}.yaml").write_text(json.dumps(content))
    (project / "report.yaml").write_text(PIPELINE.format(folder=project))
    return read_pipeline(str(project / "report.yaml"))


@pytest.fixture(scope="module")
def finish(project) -> Callable[..., Path]:
    """Write down that a stage is finished; returns its folder."""

    def call(pipeline: Pipeline, stage: str, text: str = "", **figures: float) -> Path:
        record = StageRecord(pipeline.folder_of(stage))
        nothing = Sources({}, {}, {})
        record.begin(nothing, resume=False)
        record.finish(nothing, seconds=61.4, resumed=False, seeds={}, figures=figures, text=text)
        return Path(pipeline.folder_of(stage))

    return call


def write_training(cfg: CfgNode, folder: Path, **settings: str) -> None:
    """Configuration, untrained weights and measurements."""
    cfg = cfg.clone()
    cfg.defrost()
    for key, value in settings.items():
        cfg.DATASETS[key] = value
    (folder / "config.yaml").write_text(cfg.dump())
    write_lines(
        folder / "metrics.json",
        {"iteration": 19, **LOSSES},
        {"iteration": 39, **LOSSES, **EVALUATION, **QUALITY},
        {"iteration": 59, **LOSSES, **EVALUATION, **QUALITY},
    )


def write_weights(cfg: CfgNode, folder: Path) -> None:
    torch.save({"model": Trainer.build_model(cfg).state_dict()}, folder / "model_final.pth")


@pytest.fixture(scope="module")
def finished(pipeline, finish, project) -> Pipeline:
    """The run with all stages finished: one cue in each image, so that of its two objects one has
    a pseudo label; the first image alone has an exported label."""
    images = json.loads((project / "annotations.json").read_text())
    first_of_each = images["annotations"][::2]
    points = json.loads((project / "points.json").read_text())
    points["points"] = [{**point, "score": 0.95} for point in points["points"][::2]]
    folders = {stage: finish(pipeline, stage, f"text of {stage}") for stage in pipeline.stages}
    finish(pipeline, "export", precision=75.0, recall=50.0)
    (folders["cues"] / "cues.json").write_text(json.dumps(points))
    (folders["maps"] / "weak_maps").symlink_to(project / "maps")
    label = {**first_of_each[0], "score": 0.85}
    (folders["export"] / "pseudo_labels.json").write_text(
        json.dumps({**images, "annotations": [label]})
    )
    products = {"CUES": pipeline.product_of("cues"), "WEAK_MAPS": pipeline.product_of("maps")}
    for stage in ("pam", "wsss", "bestie", "mrcnn"):
        cfg = StageJob(pipeline, stage).configs[stage]
        write_training(cfg, folders[stage], **(products if stage == "bestie" else {}))
        if stage in ("bestie", "mrcnn"):
            write_weights(cfg, folders[stage])
            (folders["evaluate"] / stage).mkdir()
            write_lines(folders["evaluate"] / stage / "metrics.json", EVALUATION)
    inference = folders["evaluate"] / "mrcnn" / "inference" / "tiny_val"
    inference.mkdir(parents=True)
    (inference / "failures.json").write_text('{"images": [{"image_id": 3, "objects-missed": 2}]}')
    return pipeline


@pytest.fixture
def elsewhere(pipeline, tmp_path) -> Pipeline:
    """The same pipeline before it is run."""
    return replace(pipeline, output=str(tmp_path / "run"))
