"""Heads: from backbone features to semantic, center and offset maps."""

from .instance import (
    INSTANCE_HEAD_REGISTRY,
    ConvInstanceHead,
    DualDecoderInstanceHead,
    InstanceMaps,
    build_instance_head,
)
from .pam import PAMHead
from .wsss import WSSSHead

__all__ = [
    "INSTANCE_HEAD_REGISTRY",
    "ConvInstanceHead",
    "DualDecoderInstanceHead",
    "InstanceMaps",
    "PAMHead",
    "WSSSHead",
    "build_instance_head",
]
