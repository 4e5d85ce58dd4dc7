"""Keys of a configuration by name, and which of them belong to which meta-architecture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

from detectron2.config import CfgNode

NUM_CLASSES_NODE = {"BESTIE": "BESTIE", "PAMClassifier": "PAM", "SingleStageWSSS": "WSSS"}
SIDE_KEYS = {  # of the sides of images that the backbone is given as they are
    "BESTIE": ("INPUT.BESTIE.CROP_SIZE", "MODEL.BESTIE.SIZE_DIVISIBILITY"),
    "PAMClassifier": ("INPUT.TAGS.CROP_SIZE",),
    "SingleStageWSSS": ("INPUT.TAGS.CROP_SIZE", "MODEL.WSSS.TEST.SIZE_DIVISIBILITY"),
}
STOCK_NODE = "ROI_HEADS"  # Detectron2's own instance segmentation models


def value_of(cfg: CfgNode, key: str) -> Any:
    """The value of a key such as ``MODEL.WEIGHTS``, or the node of that name."""
    return reduce(getitem, key.split("."), cfg)


def with_keys(cfg: CfgNode, values: Mapping[str, object]) -> CfgNode:
    """A frozen copy with these values of keys such as ``MODEL.WEIGHTS``."""
    cfg = cfg.clone()
    cfg.defrost()
    for key, value in values.items():
        *nodes, name = key.split(".")
        reduce(getitem, nodes, cfg)[name] = value
    cfg.freeze()
    return cfg


def num_classes_key(cfg: CfgNode) -> str:
    """The key of the number of classes that the model of a configuration tells apart."""
    return f"MODEL.{NUM_CLASSES_NODE.get(cfg.MODEL.META_ARCHITECTURE, STOCK_NODE)}.NUM_CLASSES"


def num_classes(cfg: CfgNode) -> int:
    """How many classes the model of a configuration tells apart."""
    return value_of(cfg, num_classes_key(cfg))
