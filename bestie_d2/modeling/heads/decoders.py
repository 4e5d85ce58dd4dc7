"""Heads with Panoptic-DeepLab's decoders, for backbones whose features lie at several strides."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from bestie_d2.model_keys import with_keys
from bestie_d2.modeling.heads.instance import INSTANCE_HEAD_REGISTRY, InstanceHead, channels_of
from bestie_d2.modeling.heads.wsss import WSSSHead
from bestie_d2.modeling.layers import ASPP, conv_norm_relu, set_batch_norm_momentum, upsample
from bestie_d2.modeling.wsss_losses import with_background


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


def _branch(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(_separable(in_channels, hidden), nn.Conv2d(hidden, out_channels, 1))


@INSTANCE_HEAD_REGISTRY.register()
class DualDecoderInstanceHead(InstanceHead):
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
        self.seg = _branch(width, width, num_classes + 1)
        self.center = _branch(half, half, num_classes)
        self.offset = _branch(half, eighth, 2)
        self.start_near_zero(self.seg, self.center, self.offset)
        set_batch_norm_momentum(self, batch_norm_momentum)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return {
            "in_channels": channels_of(input_shape, "res2", "res3", "res4", "res5"),
            "num_classes": cfg.MODEL.BESTIE.NUM_CLASSES,
            "hidden_channels": cfg.MODEL.BESTIE.HEAD_CHANNELS,
            "batch_norm_momentum": cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM,
        }

    def branches(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        semantic = self.semantic_decoder(features)
        instance = self.instance_decoder(features)
        return self.seg(semantic), self.center(instance), self.offset(instance)


@INSTANCE_HEAD_REGISTRY.register()
class WSSSInstanceHead(InstanceHead):
    """Two decoders, of which the semantic one learns what to add to the logits of a WSSS network.

    Started from that network's weights it knows the classes already; decoders that begin from
    nothing need a long training until they tell apart what looks alike.
    """

    align_corners = True

    @configurable
    def __init__(
        self, *, wsss: WSSSHead, background_logit: float, decoders: DualDecoderInstanceHead
    ) -> None:
        """
        Args:
            wsss: the head of the WSSS network.
            background_logit: constant that a class's logit has to exceed there.
        """
        super().__init__()
        self.wsss = wsss
        self.background_logit = background_logit
        self.decoders = decoders
        self.register_load_state_dict_pre_hook(WSSSInstanceHead._take_wsss_weights)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        cfg_wsss = with_keys(cfg, {"MODEL.WSSS.NUM_CLASSES": cfg.MODEL.BESTIE.NUM_CLASSES})
        return {
            "wsss": WSSSHead(cfg_wsss, input_shape),
            "background_logit": cfg.MODEL.WSSS.BACKGROUND_LOGIT,
            "decoders": DualDecoderInstanceHead(cfg, input_shape),
        }

    def _take_wsss_weights(self, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        """A WSSS network has at ``head.`` what is at ``head.wsss.`` here."""
        for name in self.wsss.state_dict():
            if prefix + name in state:
                state[f"{prefix}wsss.{name}"] = state.pop(prefix + name)

    def branches(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        known = with_background(self.wsss(features), self.background_logit)
        added, center, offset = self.decoders.branches(features)
        return known + added, center, offset
