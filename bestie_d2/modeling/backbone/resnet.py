"""torchvision's ResNet-50/101 as a Detectron2 backbone.

Detectron2's own ResNet puts its strides on the 1x1 convolutions of the MSRA weights; the released
BESTIE networks are torchvision's, with the stride on the 3x3.
"""

from __future__ import annotations

import torchvision
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.modeling.layers import set_batch_norm_momentum

DEPTHS = {50: torchvision.models.resnet50, 101: torchvision.models.resnet101}
STAGES = {
    "res2": ("layer1", 4),
    "res3": ("layer2", 8),
    "res4": ("layer3", 16),
    "res5": ("layer4", 32),
}
# MODEL.RESNETS.RES5_DILATION -> which of the last three stages dilate in place of their stride
DILATED_STAGES = {1: (False, False, False), 2: (False, False, True), 4: (False, True, True)}
STAGE_2_CHANNELS = 256  # each later stage doubles them


class TorchvisionResNet(Backbone):
    """ResNet with outputs ``res2`` to ``res5``, strides 4 to 32, 256 to 2048 channels."""

    @configurable
    def __init__(self, *, depth: int, batch_norm_momentum: float, res5_dilation: int = 1) -> None:
        """
        Args:
            depth: 50 or 101.
            batch_norm_momentum: PyTorch's momentum of every batch norm (released recipe: 0.01).
            res5_dilation: 2 keeps ``res5`` at stride 16, 4 keeps ``res4`` and ``res5`` at 8.
        """
        super().__init__()
        if depth not in DEPTHS:
            raise InputError(f"MODEL.RESNETS.DEPTH is {depth}; choose from {sorted(DEPTHS)}")
        if res5_dilation not in DILATED_STAGES:
            raise InputError(
                f"MODEL.RESNETS.RES5_DILATION is {res5_dilation}; choose from "
                f"{list(DILATED_STAGES)}"
            )
        self.body = DEPTHS[depth](
            weights=None, replace_stride_with_dilation=DILATED_STAGES[res5_dilation]
        )
        del self.body.fc, self.body.avgpool
        set_batch_norm_momentum(self.body, batch_norm_momentum)
        self._out_features = list(STAGES)
        deepest = STAGES["res5"][1] // res5_dilation
        self._out_feature_strides = {
            name: min(stride, deepest) for name, (_, stride) in STAGES.items()
        }
        self._out_feature_channels = {
            name: STAGE_2_CHANNELS << index for index, name in enumerate(STAGES)
        }

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        return {
            "depth": cfg.MODEL.RESNETS.DEPTH,
            "batch_norm_momentum": cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM,
            "res5_dilation": cfg.MODEL.RESNETS.RES5_DILATION,
        }

    def activations(self, layer: int) -> list[nn.Module]:
        """The residual blocks of ``res<layer>``, each of which ends in a ReLU."""
        return list(getattr(self.body, STAGES[f"res{layer}"][0]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized images -> ``res2`` to ``res5``."""
        body: nn.Module = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        features = {}
        for name, (layer, _) in STAGES.items():
            x = getattr(body, layer)(x)
            features[name] = x
        return features


@BACKBONE_REGISTRY.register()
def build_torchvision_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TorchvisionResNet:
    """torchvision's ResNet of depth ``MODEL.RESNETS.DEPTH``."""
    return TorchvisionResNet(cfg, input_shape)
