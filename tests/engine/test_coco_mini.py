"""Real COCO files go through the stages that make weak labels from tags: formats, not accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BASE = """
_BASE_: "{configs}/{stage}_shapes.yaml"
MODEL:
  DEVICE: "cpu"
  WEIGHTS: ""
  {node}:
    NUM_CLASSES: 80
DATASETS:
  CUSTOM:
    - name: "mini_train"
      images: "{data}/train2017"
      tags: "{data}/annotations/instances_train2017.json"
      annotations: "{data}/annotations/instances_train2017.json"
  TRAIN: ("mini_train",)
  TEST: ()
INPUT:
  TAGS:
    RESIZE: 72
    CROP_SIZE: 64
  TEST_SIDE: 96
SOLVER:
  IMS_PER_BATCH: 2
  MAX_ITER: 2
  WARMUP_ITERS: 1
DATALOADER:
  NUM_WORKERS: 0
OUTPUT_DIR: "{folder}/{stage}"
"""


@pytest.fixture
def mini(shared: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The data, and a folder with a configuration for each of the two networks."""
    data = shared / "data" / "coco_mini"
    for stage, node in (("pam", "PAM"), ("wsss", "WSSS")):
        text = BASE.format(
            configs=ROOT / "configs", stage=stage, node=node, data=data, folder=tmp_path
        )
        (tmp_path / f"{stage}.yaml").write_text(text)
    return data, tmp_path


def test_tags_to_cues_and_weak_maps(mini, run_tool):
    data, folder = mini

    def run(tool: str, stage: str, *arguments: str) -> str:
        done = run_tool(tool, "--config-file", str(folder / f"{stage}.yaml"), *arguments)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    cue_file, maps = str(folder / "cues.json"), folder / "maps"
    run("train_net.py", "pam")
    run("train_net.py", "wsss")
    run("extract_cues.py", "pam", "--output", cue_file)
    plain = ("MODEL.WSSS.TEST.PAMR", "False")  # refining images of this size takes its time
    network = ("--method", "single-stage", "--output", str(maps), *plain)
    report = run("make_weak_maps.py", "wsss", *network)

    source = json.loads((data / "annotations" / "instances_train2017.json").read_text())
    cues = json.loads(Path(cue_file).read_text())
    assert cues["categories"] == [{"id": c["id"], "name": c["name"]} for c in source["categories"]]
    assert [image["id"] for image in cues["images"]] == [image["id"] for image in source["images"]]
    tags = {(entry["image_id"], entry["category_id"]) for entry in source["annotations"]}
    assert cues["points"]
    assert {(point["image_id"], point["category_id"]) for point in cues["points"]} <= tags

    gaps = {index + 1: c["id"] for index, c in enumerate(source["categories"])}
    for image in source["images"]:
        with Image.open(maps / Path(image["file_name"]).with_suffix(".png")) as drawn:
            assert drawn.size == (image["width"], image["height"])
            shown = set(np.unique(np.array(drawn)).tolist()) - {0, 255}
        assert {(image["id"], gaps[index]) for index in shown} <= tags
    assert f"{len(source['images'])} of {len(source['images'])} maps can be used" in report
    assert "against the truth: mIoU" in report

    checked = run("check_weak_maps.py", "wsss", "--weak-maps", str(maps))
    assert "against the truth: mIoU" in checked
    (maps / Path(source["images"][0]["file_name"]).with_suffix(".png")).unlink()
    failed = run_tool(
        "check_weak_maps.py", "--config-file", str(folder / "wsss.yaml"), "--weak-maps", str(maps)
    )
    assert failed.returncode == 2
    assert "1 of 39 maps cannot be used" in failed.stderr
