"""Backbones, heads, losses and meta-architectures."""

from . import backbone
from .heads import INSTANCE_HEAD_REGISTRY
from .meta_arch import BESTIE, PAMClassifier, SingleStageWSSS

__all__ = ["BESTIE", "INSTANCE_HEAD_REGISTRY", "PAMClassifier", "SingleStageWSSS", "backbone"]
