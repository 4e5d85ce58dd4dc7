"""The three output branches: semantic map, class-wise center map, offset map.

``C`` classes; ``h, w`` the stride-4 map, ``H, W`` the input image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.modeling.layers import ASPP, conv_norm_relu, set_batch_norm_momentum, upsample

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


def _channels(input_shape: dict[str, ShapeSpec], *names: str) -> dict[str, int]:
    """Of the backbone's outputs that a head reads."""
    missing = [name for name in names if name not in input_shape]
    if missing:
        raise InputError(
            f"MODEL.BESTIE.HEAD needs {', '.join(missing)}, but the backbone gives "
            f"{', '.join(input_shape)}: add to its OUT_FEATURES, or choose another head"
        )
    return {name: input_shape[name].channels for name in names}


class _Head(nn.Module):
    """Three branches over features, upsampled to the asked size."""

    align_corners: bool
    seg: nn.Sequential
    center: nn.Sequential
    offset: nn.Sequential

    def _start_near_zero(self) -> None:
        """Small weights in the last layers: no class, no center, no offset to begin with."""
        for branch in (self.seg, self.center, self.offset):
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
class ConvInstanceHead(_Head):
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
        self._start_near_zero()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return {
            "in_channels": _channels(input_shape, "res2")["res2"],
            "num_classes": cfg.MODEL.BESTIE.NUM_CLASSES,
            "hidden_channels": cfg.MODEL.BESTIE.HEAD_CHANNELS,
        }

    def branches(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x = features["res2"]
        return self.seg(x), self.center(x), self.offset(x)


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """5x5 depthwise separable convolution: depthwise, BN, ReLU, pointwise, BN, ReLU."""
    return nn.Sequential(
        conv_norm_relu(in_channels, in_channels, 5, groups=in_channels),
        *conv_norm_relu(in_channels, out_channels, 1),
    )


class PyramidDecoder(nn.Module):
    """Panoptic-DeepLab's: ASPP on ``res5``, then fused with ``res4``, ``res3`` and ``res2``."""

    SHALLOWER = ("res4", "res3", "res2")
    RATES, DROPOUT = (3, 6, 9), 0.5

    def __init__(self, in_channels: dict[str, int], width: int, out_channels: int) -> None:
        """
        Args:
            in_channels: of ``res2`` to ``res5``.
            width: channels of the ASPP.
            out_channels: of every fusion, and so of the output (stride 4). Of half, a quarter and
                an eighth of them ``res4``, ``res3`` and ``res2`` are reduced to before it.
        """
        super().__init__()
        projected_channels = (out_channels // 2, out_channels // 4, out_channels // 8)
        self.aspp = ASPP(in_channels["res5"], width, self.RATES, dropout=self.DROPOUT)
        self.project = nn.ModuleList(
            conv_norm_relu(in_channels[name], channels, 1)
            for name, channels in zip(self.SHALLOWER, projected_channels, strict=True)
        )
        deeper = (width, out_channels, out_channels)
        self.fuse = nn.ModuleList(
            _separable(deep + side, out_channels)
            for deep, side in zip(deeper, projected_channels, strict=True)
        )

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        x = self.aspp(features["res5"])
        for name, project, fuse in zip(self.SHALLOWER, self.project, self.fuse, strict=True):
            side = project(features[name])
            x = fuse(torch.cat([upsample(x, side.shape[-2:], align_corners=True), side], dim=1))
        return x


@INSTANCE_HEAD_REGISTRY.register()
class DualDecoderInstanceHead(_Head):
    """Panoptic-DeepLab's two decoders with class-wise centers, on ``res2`` to ``res5``."""

    align_corners = True

    @configurable
    def __init__(
        self,
        *,
        in_channels: dict[str, int],
        num_classes: int,
        hidden_channels: int,
        batch_norm_momentum: float,
    ) -> None:
        """
        Args:
            in_channels: of ``res2`` to ``res5``.
            hidden_channels: of the semantic decoder, 16 k (released recipe: 256); the instance
                decoder and the center branch have half of them, the offset branch an eighth.
            batch_norm_momentum: PyTorch's momentum of every batch norm (released recipe: 0.01).
        """
        super().__init__()
        width, half, eighth = hidden_channels, hidden_channels // 2, hidden_channels // 8
        self.semantic_decoder = PyramidDecoder(in_channels, width, width)
        self.instance_decoder = PyramidDecoder(in_channels, width, half)

        def branch(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
            return nn.Sequential(
                _separable(in_channels, hidden), nn.Conv2d(hidden, out_channels, 1)
            )

        self.seg = branch(width, width, num_classes + 1)
        self.center = branch(half, half, num_classes)
        self.offset = branch(half, eighth, 2)
        self._start_near_zero()
        set_batch_norm_momentum(self, batch_norm_momentum)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return {
            "in_channels": _channels(input_shape, "res2", "res3", "res4", "res5"),
            "num_classes": cfg.MODEL.BESTIE.NUM_CLASSES,
            "hidden_channels": cfg.MODEL.BESTIE.HEAD_CHANNELS,
            "batch_norm_momentum": cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM,
        }

    def branches(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        semantic = self.semantic_decoder(features)
        instance = self.instance_decoder(features)
        return self.seg(semantic), self.center(instance), self.offset(instance)


def build_instance_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The head that ``MODEL.BESTIE.HEAD`` names."""
    return INSTANCE_HEAD_REGISTRY.get(cfg.MODEL.BESTIE.HEAD)(cfg, input_shape)
