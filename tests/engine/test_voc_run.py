"""``configs/bestie_voc*.yaml`` on a VOC tree of two images: the real thing, only small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STEMS = ("2007_000032", "2007_000039")
SMALL = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.HRNET.ARCHITECTURE", "hrnet_w18_small",
    "INPUT.BESTIE.LONG_SIDE", "65",
    "INPUT.BESTIE.CROP_SIZE", "64",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.IMS_PER_BATCH", "2",
    "DATALOADER.NUM_WORKERS", "0",
]  # fmt: skip
XML = """<annotation><size><width>60</width><height>40</height><depth>3</depth></size>
<object><name>cat</name></object><object><name>cat</name></object></annotation>"""


def write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Path:
    """Two images with two cats each, a border of void around the first."""
    root = tmp_path_factory.mktemp("datasets")
    voc = root / "VOC2012"
    lists = voc / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train_aug", "val"):
        (lists / f"{split}.txt").write_text("\n".join(STEMS))
    for stem in STEMS:
        objects = np.zeros((40, 60), np.uint8)
        objects[4:26, 4:26] = 255
        objects[5:25, 5:25], objects[10:35, 35:55] = 1, 2
        class_map = np.where((objects > 0) & (objects < 255), 8, objects).astype(np.uint8)
        write_png(voc / "SegmentationObject" / f"{stem}.png", objects)
        write_png(voc / "SegmentationClass" / f"{stem}.png", class_map)
        write_png(
            voc / "WSSS_maps" / f"{stem}.png", np.where(class_map == 8, 8, 0).astype(np.uint8)
        )
        image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        (voc / "JPEGImages").mkdir(exist_ok=True)
        Image.fromarray(image).save(voc / "JPEGImages" / f"{stem}.jpg")
        for folder, text, suffix in (
            ("Annotations", XML, "xml"),
            ("Peak_points", "15 15 7 0.9\n45 20 7 0.8\n", "txt"),
            ("Center_points", "15 15 7 1\n45 22 7 1\n", "txt"),
        ):
            (voc / folder).mkdir(exist_ok=True)
            (voc / folder / f"{stem}.{suffix}").write_text(text)
    return root


@pytest.mark.parametrize("config", ["bestie_voc.yaml", "bestie_voc_point.yaml"])
def test_train_and_evaluate(datasets, tmp_path, config):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file",
         str(ROOT / "configs" / config), *SMALL, "OUTPUT_DIR", str(tmp_path)],
        env={**os.environ, "DETECTRON2_DATASETS": str(datasets)},
        capture_output=True,
        text=True,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    final = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert {"segm/AP", "voc_instance/mAP50", "voc_instance/AP50-cat"} <= set(final)


def test_without_the_folders_it_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file",
         str(ROOT / "configs" / "bestie_voc.yaml"), "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "",
         "OUTPUT_DIR", str(tmp_path)],
        env={**os.environ, "DETECTRON2_DATASETS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 2
    assert "val.txt: no such file; put VOC 2012 into" in done.stderr
    assert done.stderr.count("\n") == 1
