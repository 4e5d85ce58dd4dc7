"""Heads: from backbone features to semantic, center and offset maps."""

from .decoders import DualDecoderInstanceHead, WSSSInstanceHead
from .instance import INSTANCE_HEAD_REGISTRY, ConvInstanceHead, InstanceMaps, build_instance_head
from .pam import PAMHead
from .weak_mask import ScoredMaskHead, WeakMaskHead
from .weak_roi import WeakROIHeads
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
    "WeakMaskHead",
    "WeakROIHeads",
    "build_instance_head",
]
