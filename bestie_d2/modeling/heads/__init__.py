"""Heads: from backbone features to semantic, center and offset maps."""

from .instance import (
    INSTANCE_HEAD_REGISTRY,
    ConvInstanceHead,
    DualDecoderInstanceHead,
    InstanceMaps,
    build_instance_head,
)
from .pam import PAMHead

__all__ = [
    "INSTANCE_HEAD_REGISTRY",
    "ConvInstanceHead",
    "DualDecoderInstanceHead",
    "InstanceMaps",
    "PAMHead",
    "build_instance_head",
]
