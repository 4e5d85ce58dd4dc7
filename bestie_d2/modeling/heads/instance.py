"""The three output branches: semantic map, class-wise center map, offset map.

``C`` classes; ``h, w`` the stride-4 map, ``H, W`` the input image.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.modeling.layers import upsample

LAST_LAYER_STD = 0.001  # as in Panoptic-DeepLab

INSTANCE_HEAD_REGISTRY = Registry("INSTANCE_HEAD")
INSTANCE_HEAD_REGISTRY.__doc__ = """
Heads of BESTIE: called with the backbone's features and the size (H, W) of the output, they return
``InstanceMaps``, enlarged bilinearly with or without ``align_corners``, which is an attribute of
theirs. A head is built by ``head(cfg, backbone.output_shape())``.
"""


@dataclass
class InstanceMaps:
    """What the network says of a batch.

    Attributes:
        sem_seg: (B, C+1, H, W) logits, channel 0 the background.
        center: (B, C, H, W), meant to lie in [0, 1].
        offset: (B, 2, H, W) from each pixel to its center, (y, x) pixels of this map.
    """

    sem_seg: Tensor
    center: Tensor
    offset: Tensor


def channels_of(input_shape: dict[str, ShapeSpec], *names: str) -> dict[str, int]:
    """Of the backbone's outputs that a head reads."""
    missing = [name for name in names if name not in input_shape]
    if missing:
        raise InputError(
            f"MODEL.BESTIE.HEAD needs {', '.join(missing)}, but the backbone gives "
            f"{', '.join(input_shape)}: add to its OUT_FEATURES, or choose another head"
        )
    return {name: input_shape[name].channels for name in names}


class InstanceHead(nn.Module):
    """Three branches over features, upsampled to the asked size."""

    align_corners: bool

    @staticmethod
    def start_near_zero(*branches: nn.Sequential) -> None:
        """Small weights in the last layers: no class, no center, no offset to begin with."""
        for branch in branches:
            weight, bias = branch[-1].parameters()
            nn.init.normal_(weight, std=LAST_LAYER_STD)
            nn.init.zeros_(bias)

    def branches(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C+1, h, w), (B, C, h, w) and (B, 2, h, w)."""
        raise NotImplementedError(type(self).__name__)

    def forward(self, features: dict[str, Tensor], size: tuple[int, int]) -> InstanceMaps:
        """Maps of ``size``; values of the offset map are in its pixels already."""
        maps = self.branches(features)
        return InstanceMaps(*(upsample(m.float(), size, self.align_corners) for m in maps))


@INSTANCE_HEAD_REGISTRY.register()
class ConvInstanceHead(InstanceHead):
    """3x3 convolution + ReLU + 1x1 convolution for each branch, on ``res2`` (HRNet)."""

    align_corners = False

    @configurable
    def __init__(self, *, in_channels: int, num_classes: int, hidden_channels: int) -> None:
        """
        Args:
            hidden_channels: between the two convolutions (released recipe: 256).
        """
        super().__init__()

        def branch(out_channels: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(in_channels, hidden_channels, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden_channels, out_channels, 1),
            )

        self.seg = branch(num_classes + 1)
        self.center = branch(num_classes)
        self.offset = branch(2)
        self.start_near_zero(self.seg, self.center, self.offset)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return {
            "in_channels": channels_of(input_shape, "res2")["res2"],
            "num_classes": cfg.MODEL.BESTIE.NUM_CLASSES,
            "hidden_channels": cfg.MODEL.BESTIE.HEAD_CHANNELS,
        }

    def branches(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x = features["res2"]
        return self.seg(x), self.center(x), self.offset(x)


def build_instance_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The head that ``MODEL.BESTIE.HEAD`` names."""
    return INSTANCE_HEAD_REGISTRY.get(cfg.MODEL.BESTIE.HEAD)(cfg, input_shape)
