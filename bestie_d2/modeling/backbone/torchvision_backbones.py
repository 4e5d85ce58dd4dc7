"""torchvision's ResNet-50/101 and VGG with its last strides dilated, as Detectron2 backbones.

Detectron2's own ResNet puts its strides on the 1x1 convolutions of the MSRA weights; the released
BESTIE networks are torchvision's, with the stride on the 3x3. The released PAM classifier is a VGG.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torchvision
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from bestie_d2.errors import InputError, check_choice, check_choices
from bestie_d2.modeling.layers import set_batch_norm_momentum

DEPTHS = {50: torchvision.models.resnet50, 101: torchvision.models.resnet101}
STAGES = {"res2": "layer1", "res3": "layer2", "res4": "layer3", "res5": "layer4"}
# MODEL.RESNETS.RES5_DILATION -> which of the last three stages dilate in place of their stride
DILATED_STAGES = {1: (False, False, False), 2: (False, False, True), 4: (False, True, True)}
STAGE_2_CHANNELS, STAGE_2_STRIDE = 256, 4  # each later stage doubles both


class TorchvisionResNet(Backbone):
    """ResNet with outputs ``res2`` to ``res5``, strides 4 to 32, 256 to 2048 channels."""

    @configurable
    def __init__(self, *, depth: int, batch_norm_momentum: float, res5_dilation: int = 1) -> None:
        """
        Args:
            batch_norm_momentum: PyTorch's momentum of every batch norm (released recipe: 0.01).
            res5_dilation: 2 keeps ``res5`` at stride 16, 4 keeps ``res4`` and ``res5`` at 8.
        """
        super().__init__()
        check_choice("MODEL.RESNETS.DEPTH", depth, DEPTHS)
        check_choice("MODEL.RESNETS.RES5_DILATION", res5_dilation, DILATED_STAGES)
        dilated = DILATED_STAGES[res5_dilation]
        self.body = DEPTHS[depth](weights=None, replace_stride_with_dilation=dilated)
        del self.body.fc, self.body.avgpool
        set_batch_norm_momentum(self.body, batch_norm_momentum)
        self._out_features = list(STAGES)
        self._out_feature_strides, self._out_feature_channels = {}, {}
        deepest = (STAGE_2_STRIDE << len(dilated)) // res5_dilation
        for number, name in enumerate(STAGES):
            self._out_feature_strides[name] = min(STAGE_2_STRIDE << number, deepest)
            self._out_feature_channels[name] = STAGE_2_CHANNELS << number

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        return {
            "depth": cfg.MODEL.RESNETS.DEPTH,
            "batch_norm_momentum": cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM,
            "res5_dilation": cfg.MODEL.RESNETS.RES5_DILATION,
        }

    def activations(self, layer: int) -> list[nn.Module]:
        """The residual blocks of ``res<layer>``, each of which ends in a ReLU."""
        return list(getattr(self.body, STAGES[f"res{layer}"]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized images -> ``res2`` to ``res5``."""
        body: Any = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        features = {}
        for name, layer in STAGES.items():
            features[name] = x = getattr(body, layer)(x)
        return features


VGG_FEATURES = ("block1", "block2", "block3", "block4", "block5")
HALVING: dict[str, Any] = {"kernel_size": 2, "stride": 2}
KEEPING: dict[str, Any] = {"kernel_size": 3, "stride": 1, "padding": 1}


class VGGRecipe(NamedTuple):
    """A VGG of five blocks."""

    blocks: tuple[tuple[int, ...], ...]  # channels of each 3x3 convolution, block by block
    pools: tuple[dict[str, Any] | None, ...]  # arguments of the max-pool after each block
    dilations: tuple[int, ...]  # of the blocks' convolutions
    batch_norm: bool  # after every convolution; makes training from scratch possible


VGGS = {
    "vgg16": VGGRecipe(
        blocks=((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
        pools=(HALVING, HALVING, HALVING, KEEPING, None),
        dilations=(1, 1, 1, 1, 2),
        batch_norm=False,
    ),
    # For small images and CPUs: maps of stride 4, trained from scratch.
    "vgg_small": VGGRecipe(
        blocks=((24,), (48,), (72,) * 2, (96,), (96,)),
        pools=(HALVING, HALVING, None, None, None),
        dilations=(1, 1, 1, 2, 2),
        batch_norm=True,
    ),
}


class DilatedVGG(Backbone):
    """Five blocks of convolutions; the outputs ``block1`` to ``block5`` come before the pools.

    Late pools do not halve the map, and late blocks are dilated to see as far nevertheless. Blocks
    behind the last output that is wanted are not built.
    """

    @configurable
    def __init__(
        self, *, architecture: str, out_features: Sequence[str], in_channels: int = 3
    ) -> None:
        super().__init__()
        check_choice("MODEL.VGG.ARCHITECTURE", architecture, VGGS)
        check_choices("MODEL.VGG.OUT_FEATURES", out_features, VGG_FEATURES)
        recipe = VGGS[architecture]
        self.body = nn.Sequential()  # numbered as torchvision numbers its own
        self._activations: list[list[nn.Module]] = []
        self._ends: dict[int, str] = {}  # layer of the body -> feature that it gives
        self._out_features = [name for name in VGG_FEATURES if name in out_features]
        self._out_feature_strides, self._out_feature_channels = {}, {}
        width, stride = in_channels, 1
        for name, channels, pool, dilation in zip(VGG_FEATURES, *recipe[:3], strict=True):
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
            if name == self._out_features[-1]:
                break  # nothing reads what is deeper
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
        if layer > len(self._activations):
            raise InputError(
                f"MODEL.PAM.LAYERS has {layer}, but MODEL.VGG.OUT_FEATURES ends at "
                f"{self._out_features[-1]}"
            )
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
def build_torchvision_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TorchvisionResNet:
    """torchvision's ResNet of depth ``MODEL.RESNETS.DEPTH``."""
    return TorchvisionResNet(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_vgg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DilatedVGG:
    """VGG as ``MODEL.VGG`` describes it."""
    return DilatedVGG(cfg, input_shape)
