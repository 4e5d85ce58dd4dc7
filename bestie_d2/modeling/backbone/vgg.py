"""The PAM classifier's backbone: torchvision's VGG, its last strides turned into dilation."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from bestie_d2.errors import InputError

FEATURE_NAMES = ("block1", "block2", "block3", "block4", "block5")
HALVING, KEEPING = {"kernel_size": 2, "stride": 2}, {"kernel_size": 3, "stride": 1, "padding": 1}


@dataclass(frozen=True)
class Architecture:
    """A VGG of five blocks.

    Attributes:
        blocks: channels of each 3x3 convolution, block by block.
        pools: arguments of the max-pool after each block; None for none.
        dilations: of the blocks' convolutions.
        batch_norm: after every convolution; makes training from scratch possible.
    """

    blocks: tuple[tuple[int, ...], ...]
    pools: tuple[dict[str, int] | None, ...]
    dilations: tuple[int, ...]
    batch_norm: bool


ARCHITECTURES = {
    "vgg16": Architecture(
        blocks=((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
        pools=(HALVING, HALVING, HALVING, KEEPING, None),
        dilations=(1, 1, 1, 1, 2),
        batch_norm=False,
    ),
    # For small images and CPUs: maps of stride 4, trained from scratch.
    "vgg_small": Architecture(
        blocks=((24,), (48,), (72,) * 2, (96,), (96,)),
        pools=(HALVING, HALVING, None, None, None),
        dilations=(1, 1, 1, 2, 2),
        batch_norm=True,
    ),
}


class DilatedVGG(Backbone):
    """Five blocks of convolutions; the outputs ``block1`` to ``block5`` come before the pools.

    Late pools do not halve the map, and late blocks are dilated to see as far nevertheless.
    """

    @configurable
    def __init__(self, *, architecture: str, out_features: list[str], in_channels: int = 3) -> None:
        """
        Args:
            architecture: one of ``ARCHITECTURES``.
            out_features: names out of ``FEATURE_NAMES``.
            in_channels: of the image; torchvision's VGG has 3.
        """
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(
                f"MODEL.VGG.ARCHITECTURE is {architecture!r}; choose from {tuple(ARCHITECTURES)}"
            )
        unknown = sorted(set(out_features) - set(FEATURE_NAMES))
        if unknown or not out_features:
            raise InputError(
                f"MODEL.VGG.OUT_FEATURES has {unknown or 'no name'}; choose from {FEATURE_NAMES}"
            )
        recipe = ARCHITECTURES[architecture]
        self.body = nn.Sequential()  # numbered as torchvision numbers its own
        self._activations: list[list[nn.Module]] = []
        self._ends: dict[int, str] = {}  # layer of the body -> feature that it gives
        self._out_features = [name for name in FEATURE_NAMES if name in out_features]
        self._out_feature_strides, self._out_feature_channels = {}, {}
        width, stride = in_channels, 1
        for name, channels, pool, dilation in zip(
            FEATURE_NAMES, recipe.blocks, recipe.pools, recipe.dilations, strict=True
        ):
            block = make_layers(list(channels), recipe.batch_norm)
            block[0] = nn.Conv2d(width, channels[0], 3)
            for layer in block:
                if isinstance(layer, nn.Conv2d):
                    layer.dilation = layer.padding = (dilation, dilation)
            self._activations.append([m for m in block if isinstance(m, nn.ReLU)])
            self.body.extend(block)
            width = channels[-1]
            self._ends[len(self.body) - 1] = name
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = width
            if pool:
                self.body.append(nn.MaxPool2d(**pool))
                stride *= pool["stride"]

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        return {
            "architecture": cfg.MODEL.VGG.ARCHITECTURE,
            "out_features": cfg.MODEL.VGG.OUT_FEATURES,
            "in_channels": input_shape.channels,
        }

    def activations(self, layer: int) -> list[nn.Module]:
        """The ReLUs of a block, numbered from 1 as in the paper."""
        return self._activations[layer - 1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized images -> the out_features by name."""
        features = {}
        for index, layer in enumerate(self.body):
            images = layer(images)
            if self._ends.get(index) in self._out_features:
                features[self._ends[index]] = images
        return features


@BACKBONE_REGISTRY.register()
def build_vgg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DilatedVGG:
    """VGG as ``MODEL.VGG`` describes it."""
    return DilatedVGG(cfg, input_shape)
