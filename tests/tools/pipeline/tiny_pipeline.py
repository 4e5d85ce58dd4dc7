"""A tiny pipeline from tags: its data, the configurations of its stages, and its tool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "tools" / "run_pipeline.py"
STAGES = ["pam", "cues", "wsss", "maps", "bestie", "export", "mrcnn", "mrcnn_truth", "evaluate"]
OTHERS = ["components", "cam_maps"]  # of no stage that others here read
SIDE = 64
WIDTHS = (SIDE, SIDE + 8)  # of images with an even number, and an odd one
COLORS = {1: (230, 60, 40), 2: (50, 90, 240)}  # of the squares, by category id
KILLED = ["pam", "wsss", "bestie", "mrcnn"]  # trainings, each stopped in the middle

PIPELINE = """
name: tiny
supervision: tags
output: out
train_set: chain_train
test_set: chain_val
stages:
  pam: {config: pam.yaml}
  cues: {}
  wsss: {config: wsss.yaml, weights_from: pam}
  maps: {}
  bestie: {config: bestie.yaml}
  export: {score_threshold: 0.0}
  mrcnn: {config: mrcnn.yaml}
  mrcnn_truth: {config: mrcnn.yaml}
  evaluate: {}
"""
COMMON = {
    "MODEL.DEVICE": "cpu",
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.WARMUP_ITERS": 1,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.CHECKPOINT_PERIOD": 5,
    "TEST.EVAL_PERIOD": 0,
}
OWN = {
    "pam": {
        "MODEL.PAM.NUM_CLASSES": 2,
        "INPUT.TAGS.CROP_SIZE": SIDE,
        "INPUT.TEST_SIDE": SIDE,
        "SOLVER.MAX_ITER": 40,
    },
    "wsss": {
        "MODEL.WSSS.NUM_CLASSES": 2,
        "INPUT.TAGS.CROP_SIZE": SIDE,
        "DATALOADER.NUM_WORKERS": 1,  # forked where stages before it have used their threads
        "SOLVER.MAX_ITER": 30,
        "MODEL.WSSS.MASK_LOSS_START": 15,
        "MODEL.WSSS.BACKGROUND_LOGIT": 0.0,  # masks from the start, however coarse
        "MODEL.WSSS.FOCAL.POWER": 3.0,
    },
    "bestie": {
        "MODEL.BESTIE.NUM_CLASSES": 2,
        "INPUT.BESTIE.LONG_SIDE": SIDE + 1,
        "INPUT.BESTIE.CROP_SIZE": SIDE,
        "DATASETS.CUE_THRESHOLD": 0.0,
        "DATALOADER.NUM_WORKERS": 2,
        "SOLVER.MAX_ITER": 60,
    },
    "mrcnn": {
        "MODEL.ROI_HEADS.NUM_CLASSES": 2,
        "INPUT.MIN_SIZE_TRAIN": [SIDE],
        "DATALOADER.ASPECT_RATIO_GROUPING": True,
        "INPUT.MIN_SIZE_TEST": SIDE,
        "SOLVER.MAX_ITER": 8,
        "SOLVER.STEPS": [],
    },
}


def draw(folder: Path) -> None:
    """Six images of bright squares on dark ground, of one class or of both, three of them wider
    than high, and their truth."""
    (folder / "images").mkdir()
    images, objects = [], []
    for image_id in range(1, 7):
        random = np.random.default_rng(image_id)
        width = WIDTHS[image_id % 2]
        image = random.integers(0, 40, (SIDE, width, 3), dtype=np.uint8)
        for number, category in enumerate([(1, 1), (2, 2), (1, 2)][image_id % 3]):
            top, left, side = random.integers(4, 30), 4 + 32 * number, random.integers(16, 24)
            mask = np.zeros((SIDE, width), np.uint8, order="F")
            mask[top : top + side, left : left + side] = 1
            image[mask > 0] = COLORS[category]
            rle = mask_api.encode(mask)
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "bbox": mask_api.toBbox(rle).tolist(),
                    "area": int(mask_api.area(rle)),
                    "iscrowd": 0,
                }
            )
        name = f"{image_id}.png"
        Image.fromarray(image).save(folder / "images" / name)
        images.append({"id": image_id, "file_name": name, "height": SIDE, "width": width})
    tags = [{key: item[key] for key in ("image_id", "category_id")} for item in objects]
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    for name, entries in (("truth", objects), ("tags", tags)):
        content = {"images": images, "categories": categories, "annotations": entries}
        (folder / f"{name}.json").write_text(json.dumps(content))


def stage_yaml(stage: str, folder: Path) -> str:
    """A stage's configuration: that of the shapes, made tiny."""
    files = {"images": f"{folder}/images", "annotations": f"{folder}/truth.json"}
    train = {"name": "chain_train", **files, "tags": f"{folder}/tags.json"}
    custom = [train, {"name": "chain_val", **files}]
    content: dict = {"_BASE_": f"{ROOT}/configs/{stage}_shapes.yaml"}
    for key, value in {**COMMON, **OWN[stage], "DATASETS.CUSTOM": custom}.items():
        *path, leaf = key.split(".")
        node = content
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return json.dumps(content)  # which is yaml too


def states_of(printed: str) -> dict[str, str]:
    """What is done with each stage; its first line counts, the table's comes later."""
    lines = [line.split() for line in printed.splitlines()]
    found: dict[str, str] = {}
    for words in lines:
        if len(words) > 1 and words[0].split("_round")[0] in (*STAGES, *OTHERS):
            found.setdefault(words[0], words[1])
    return found


SHORT = ("pam.SOLVER.MAX_ITER", "4", "pam.SOLVER.CHECKPOINT_PERIOD", "2")


def shorten(folder: Path) -> None:
    """Leave only the stages pam and cues; with ``SHORT`` they take two seconds."""
    (folder / "tiny.yaml").write_text(PIPELINE[: PIPELINE.index("  wsss")])


def raising(error: BaseException) -> Callable[[object], None]:
    """In place of what a stage does."""

    def run(job: object) -> None:
        raise error

    return run
