"""A small network that sees little of an image at once, for small images, from scratch."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from bestie_d2.modeling.layers import conv_norm_relu

STRIDE = 2  # of each stage's first convolution
# Channels of the 3x3 convolutions of each stage; 27 pixels across are seen at the end.
STAGES = {"res1": (32, 48), "res2": (96, 96, 128)}


class PlainConvNet(Backbone):
    """Stages of 3x3 convolutions with batch norm: ``res1`` of stride 2, ``res2`` of stride 4.

    No value depends on more than a window of 27 pixels, less than a large object of the synthetic
    set. So a class that is trained from tags alone can't be told from the rest of the image.
    """

    def __init__(self, *, in_channels: int = 3) -> None:
        """
        Args:
            in_channels: of the image.
        """
        super().__init__()
        self.body = nn.ModuleDict()
        self._out_features = list(STAGES)
        self._out_feature_channels, self._out_feature_strides = {}, {}
        stride = 1
        for name, widths in STAGES.items():
            layers = []
            for width in widths:
                layers.append(conv_norm_relu(in_channels, width, 3))
                in_channels = width
            layers[0][0].stride = (STRIDE, STRIDE)
            stride *= STRIDE
            self.body[name] = nn.Sequential(*layers)
            self._out_feature_channels[name] = in_channels
            self._out_feature_strides[name] = stride

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized images -> the features by name."""
        features = {}
        for name, stage in self.body.items():
            images = features[name] = stage(images)
        return features


@BACKBONE_REGISTRY.register()
def build_plain_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PlainConvNet:
    """The small network, of one size."""
    return PlainConvNet(in_channels=input_shape.channels)
