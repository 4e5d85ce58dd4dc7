from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

ROOT = Path(__file__).resolve().parents[1]
SIDE = 64


def _scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its two objects as an index map: 1 a bright square, 2 another, apart."""
    random = np.random.default_rng(index)
    image = random.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    objects = np.zeros((SIDE, SIDE), np.uint8)
    for number, left in ((1, 4), (2, 36)):
        top, side = random.integers(4, 30), random.integers(14, 24)
        objects[top : top + side, left : left + side] = number
    image[objects > 0] += 150
    return image, objects


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with a tiny data set of one class in the project's file formats, and its yaml."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("images", "maps"):
        (folder / name).mkdir()
    lists: dict[str, list] = {"images": [], "points": [], "annotations": []}
    for index in range(6):
        image, objects = _scene(index)
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray((objects > 0).astype(np.uint8)).save(folder / "maps" / f"{index}.png")
        lists["images"].append(
            {"id": index, "file_name": f"{index}.png", "height": SIDE, "width": SIDE}
        )
        for number in (1, 2):
            rows, columns = np.nonzero(objects == number)
            point = [int(columns.mean()), int(rows.mean())]
            lists["points"].append({"image_id": index, "category_id": 1, "point": point})
            rle = mask_api.encode(np.asfortranarray(objects == number).astype(np.uint8))
            rle["counts"] = rle["counts"].decode()
            lists["annotations"].append(
                {
                    "id": len(lists["annotations"]) + 1,
                    "image_id": index,
                    "category_id": 1,
                    "segmentation": rle,
                    "bbox": mask_api.toBbox(rle).tolist(),
                    "area": int(mask_api.area(rle)),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "square"}]
    for kind in ("points", "annotations"):
        content = {"images": lists["images"], "categories": categories, kind: lists[kind]}
        (folder / f"{kind}.json").write_text(json.dumps(content))
    (folder / "tiny.yaml").write_text(TINY.format(base=ROOT / "configs", folder=folder))
    return folder


TINY = """
_BASE_: "{base}/bestie_shapes.yaml"
MODEL:
  DEVICE: "cpu"
  BESTIE:
    NUM_CLASSES: 1
    SUPERVISION: "points"
DATASETS:
  CUSTOM:
    - name: "tiny_train"
      images: "{folder}/images"
      points: "{folder}/points.json"
      weak_maps: "{folder}/maps"
    - name: "tiny_val"
      images: "{folder}/images"
      annotations: "{folder}/annotations.json"
      weak_maps: "{folder}/maps"
  TRAIN: ("tiny_train",)
  TEST: ("tiny_val",)
INPUT:
  BESTIE:
    LONG_SIDE: 65
    CROP_SIZE: 64
SOLVER:
  IMS_PER_BATCH: 2
  MAX_ITER: 40
  WARMUP_ITERS: 1
  CHECKPOINT_PERIOD: 20
DATALOADER:
  NUM_WORKERS: 0
OUTPUT_DIR: "{folder}/output"
"""


@pytest.fixture
def run_tool(project, forked_tool):
    """Run a tool in the project's folder; returns the finished process."""

    def run(tool: str, *arguments: str) -> subprocess.CompletedProcess:
        return forked_tool(tool, arguments, project)

    return run
