"""docs/alternatives.md: label images become a COCO file, and Mask R-CNN could train on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from documents import blocks_of
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.checks.training import check_test_sets, check_train_sets
from bestie_d2.engine.configuration import load_config

LABELS = np.zeros((4, 6), np.uint16)
LABELS[:2, :2], LABELS[3, 2:] = 7, 300
EMPTY = np.zeros((2, 3), np.uint16)


@pytest.fixture
def converted(tmp_path, monkeypatch) -> Path:
    """The file that the page's lines make of two label images."""
    monkeypatch.chdir(tmp_path)
    for folder, suffix in (("images", "png"), ("label_images", "tif")):
        Path("my", folder).mkdir(parents=True)
        for name, labels in (("a", LABELS), ("b", EMPTY)):
            values = labels if suffix == "tif" else labels.astype(np.uint8)
            Image.fromarray(values).save(f"my/{folder}/{name}.{suffix}")
    exec(compile(block("python"), "docs/alternatives.md", "exec"), {})
    return Path("my/masks/coco.json")


def block(language: str) -> str:
    (found,) = (b for b in blocks_of(Path("docs/alternatives.md")) if b.language == language)
    return found.text


def test_label_images_become_instances(converted):
    content = json.loads(converted.read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png"]
    assert [item["image_id"] for item in content["annotations"]] == [1, 1]
    masks = [mask_api.decode(item["segmentation"]) for item in content["annotations"]]
    np.testing.assert_array_equal(masks, [LABELS == 7, LABELS == 300])


def test_mask_rcnn_could_train_on_them(converted, forget_data_sets):
    truth = converted.rename("my/truth.json")
    content = json.loads(truth.read_text())
    for item in content["annotations"]:  # as masks of other tools are: here, of boxes
        left, top, width, height = item["bbox"]
        right, bottom = left + width, top + height
        item["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
    converted.write_text(json.dumps(content))
    Path("my/mrcnn.yaml").write_text(block("yaml"))
    cfg = load_config("my/mrcnn.yaml")
    check_test_sets(cfg)
    check_train_sets(cfg)
    assert [len(record["annotations"]) for record in DatasetCatalog.get("mine_masks")] == [2, 0]
