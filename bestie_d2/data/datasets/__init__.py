"""Registers the built-in data sets; they are read, or drawn, on first use."""

from bestie_d2.data.datasets.coco import register_coco
from bestie_d2.data.datasets.shapes import register_shapes
from bestie_d2.data.datasets.subset import register_subset
from bestie_d2.data.datasets.voc import register_voc
from bestie_d2.data.datasets.weak import register_custom_datasets, register_weak_dataset
from bestie_d2.data.paths import datasets_root

__all__ = [
    "register_coco",
    "register_custom_datasets",
    "register_shapes",
    "register_subset",
    "register_voc",
    "register_weak_dataset",
]

register_coco(datasets_root())
register_shapes(datasets_root())
register_voc(datasets_root())
