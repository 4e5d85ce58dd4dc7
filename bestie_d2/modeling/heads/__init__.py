"""Heads: from backbone features to semantic, center and offset maps."""

from .decoders import DualDecoderInstanceHead, WSSSInstanceHead
from .instance import INSTANCE_HEAD_REGISTRY, ConvInstanceHead, InstanceMaps, build_instance_head
from .pam import PAMHead
from .scored_mask import ScoredMaskHead
from .wsss import WSSSHead

__all__ = [
    "INSTANCE_HEAD_REGISTRY",
    "ConvInstanceHead",
    "DualDecoderInstanceHead",
    "InstanceMaps",
    "PAMHead",
    "ScoredMaskHead",
    "WSSSHead",
    "WSSSInstanceHead",
    "build_instance_head",
]
