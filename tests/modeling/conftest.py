from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Boxes, Instances
from PIL import Image

from bestie_d2.data import MAPPER_REGISTRY
from bestie_d2.engine.configuration import load_config
from bestie_d2.structures import PointCues

TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "INPUT.BESTIE.LONG_SIDE", "65",
    "INPUT.BESTIE.CROP_SIZE", "64",
    "INPUT.TAGS.RESIZE", "64",
    "INPUT.TAGS.CROP_SIZE", "48",
    "MODEL.BESTIE.MIN_AREA", "10",
]  # fmt: skip


@pytest.fixture
def tiny_config():
    """A configuration file on the CPU, at a size that takes seconds."""

    def load(config_file: str, *overrides: str) -> CfgNode:
        return load_config(str(config_file), [*TINY, *overrides])

    return load


@pytest.fixture
def weak_record(tmp_path):
    """A record of a 48x64 image with one object of class 0, or with none."""
    random = np.random.default_rng(0)

    def write(name: str, objects: int = 1) -> dict:
        image = random.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        weak = np.zeros((48, 64), np.uint8)
        weak[10:34, 20:44] = objects
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray(weak).save(tmp_path / f"{name}_map.png")
        points = torch.tensor([[22.0, 30.0]][:objects]).reshape(-1, 2)
        count = len(points)
        return {
            "file_name": str(tmp_path / f"{name}.png"),
            "image_id": name,
            "height": 48,
            "width": 64,
            "image_classes": [0][:objects],
            "sem_seg_file_name": str(tmp_path / f"{name}_map.png"),
            "cues": PointCues(points, torch.zeros(count, dtype=torch.int64), torch.ones(count)),
        }

    return write


@pytest.fixture
def weak_batch(weak_record):
    """Two training examples as the configuration's mapper makes them, or Detectron2's own."""

    def make(cfg: CfgNode, objects: int = 1) -> list[dict]:
        if not cfg.INPUT.MAPPER:
            return [_example_with_masks() for _ in range(2)]
        mapper = MAPPER_REGISTRY.get(cfg.INPUT.MAPPER)(cfg)
        return [mapper(weak_record(f"image{i}_{objects}", objects)) for i in range(2)]

    return make


def _example_with_masks() -> dict:
    """A 64x64 image with one object, as Detectron2's own mapper makes it."""
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 10:40, 20:50] = True
    instances = Instances((64, 64))
    instances.gt_boxes = Boxes(torch.tensor([[20.0, 10.0, 50.0, 40.0]]))
    instances.gt_classes = torch.tensor([0])
    instances.gt_masks = BitMasks(mask)
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    return {"image": image, "instances": instances}
