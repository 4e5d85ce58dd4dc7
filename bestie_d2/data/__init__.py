"""Data sets, readers of weak labels, and what turns records into training examples."""

from bestie_d2.data.datasets import (
    register_coco,
    register_custom_datasets,
    register_shapes,
    register_subset,
    register_voc,
    register_weak_dataset,
)
from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.attach import attach_weak_labels, load_tagged_records, load_weak_records
from bestie_d2.data.labels.cue_files import read_cues
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.tags import read_tags
from bestie_d2.data.mappers import (
    MAPPER_REGISTRY,
    DetectionMapper,
    EvaluationMapper,
    ImageTagMapper,
    WeakInstanceMapper,
)
from bestie_d2.data.paths import expand_path

__all__ = [
    "MAPPER_REGISTRY",
    "DetectionMapper",
    "EvaluationMapper",
    "ImageReader",
    "ImageTagMapper",
    "WeakInstanceMapper",
    "attach_weak_labels",
    "expand_path",
    "load_tagged_records",
    "load_weak_records",
    "read_cues",
    "read_tags",
    "read_weak_sem_seg",
    "register_coco",
    "register_custom_datasets",
    "register_shapes",
    "register_subset",
    "register_voc",
    "register_weak_dataset",
]
