"""HRNet-18-small / 18 / 32 / 48 over timm, as a Detectron2 backbone."""

from __future__ import annotations

import timm
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor

from bestie_d2.errors import InputError
from bestie_d2.modeling.layers import set_batch_norm_momentum

FEATURE_NAMES = ("stem", "res2", "res3", "res4", "res5")
DEEPEST_STRIDE = 32  # of the branches, which fit each other if it divides the image's sides
ARCHITECTURES = ("hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48")


class HRNet(Backbone):
    """High-resolution network: parallel branches of strides 4 to 32, fused again and again.

    Outputs are the fused branches ``res2`` to ``res5`` (strides 4 to 32) and the ``stem``
    (stride 2). What only unwanted outputs need is not built, so no parameter is left unused.
    """

    @configurable
    def __init__(
        self,
        *,
        architecture: str,
        out_features: list[str],
        batch_norm_momentum: float,
        in_channels: int = 3,
    ) -> None:
        """
        Args:
            architecture: timm's name, one of ``ARCHITECTURES``.
            out_features: names out of ``FEATURE_NAMES``.
            batch_norm_momentum: PyTorch's momentum of every batch norm (released recipe: 0.1).
            in_channels: of the image.
        """
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(
                f"MODEL.HRNET.ARCHITECTURE is {architecture!r}; choose from {ARCHITECTURES}"
            )
        unknown = sorted(set(out_features) - set(FEATURE_NAMES))
        if unknown or not out_features:
            raise InputError(
                f"MODEL.HRNET.OUT_FEATURES has {unknown or 'no name'}; choose from {FEATURE_NAMES}"
            )
        self._out_features = [name for name in FEATURE_NAMES if name in out_features]
        indices = tuple(FEATURE_NAMES.index(name) for name in self._out_features)
        self.body = timm.create_model(
            architecture,
            pretrained=False,
            features_only=True,
            feature_location="",
            out_indices=indices,
            in_chans=in_channels,
        )
        last_module = self.body.stage4[-1]
        last_module.fuse_layers = last_module.fuse_layers[: max(*indices, 1)]
        set_batch_norm_momentum(self.body, batch_norm_momentum)
        info = self.body.feature_info
        self._out_feature_channels = dict(zip(self._out_features, info.channels(), strict=True))
        self._out_feature_strides = dict(zip(self._out_features, info.reduction(), strict=True))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        return {
            "architecture": cfg.MODEL.HRNET.ARCHITECTURE,
            "out_features": cfg.MODEL.HRNET.OUT_FEATURES,
            "batch_norm_momentum": cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM,
            "in_channels": input_shape.channels,
        }

    @property
    def size_divisibility(self) -> int:
        """What the sides of images have to be multiples of, whichever outputs are wanted."""
        return DEEPEST_STRIDE

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized images -> the out_features by name."""
        return dict(zip(self._out_features, self.body(images), strict=True))


@BACKBONE_REGISTRY.register()
def build_hrnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> HRNet:
    """HRNet as ``MODEL.HRNET`` describes it."""
    return HRNet(cfg, input_shape)
