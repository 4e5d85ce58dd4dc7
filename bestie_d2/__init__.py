"""Weakly-supervised instance segmentation (BESTIE) as a Detectron2 extension.

Importing it registers backbones, heads, meta-architectures, mappers and data sets.
"""

from bestie_d2 import start_up  # before torch and Detectron2 are imported

# isort: split

from bestie_d2.config import add_bestie_config
from bestie_d2.data import (
    MAPPER_REGISTRY,
    register_coco,
    register_custom_datasets,
    register_shapes,
    register_subset,
    register_voc,
    register_weak_dataset,
)
from bestie_d2.engine.predictor import BESTIEPredictor
from bestie_d2.errors import InputError
from bestie_d2.modeling import BESTIE, INSTANCE_HEAD_REGISTRY, PAMClassifier, SingleStageWSSS

__all__ = [
    "BESTIE",
    "INSTANCE_HEAD_REGISTRY",
    "MAPPER_REGISTRY",
    "BESTIEPredictor",
    "InputError",
    "PAMClassifier",
    "SingleStageWSSS",
    "add_bestie_config",
    "register_coco",
    "register_custom_datasets",
    "register_shapes",
    "register_subset",
    "register_voc",
    "register_weak_dataset",
    "start_up",
]
