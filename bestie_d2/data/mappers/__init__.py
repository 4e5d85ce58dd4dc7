"""Mappers: from a data set's record to a network's input."""

from .detection import DetectionMapper, EvaluationMapper
from .image_tags import MAPPER_REGISTRY, ImageTagMapper
from .weak_instance import WeakInstanceMapper

__all__ = [
    "MAPPER_REGISTRY",
    "DetectionMapper",
    "EvaluationMapper",
    "ImageTagMapper",
    "WeakInstanceMapper",
]
