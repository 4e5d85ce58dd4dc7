"""Head of the single-stage WSSS network: deep and shallow features to class logits.

Araslanov & Roth (CVPR 2020). Legend: ``K`` the head's channels, ``C`` classes, ``h, w`` the shallow
feature's map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from bestie_d2.errors import check_choice
from bestie_d2.modeling.layers import ASPP, conv_norm_relu, upsample

SKIP_CHANNELS = 48  # that the shallow feature is reduced to before the fusion, as in DeepLabv3+


class GlobalCueInjection(nn.Module):
    """Lets the deep features of the whole image scale and shift a shallow feature's channels."""

    def __init__(self, shallow_channels: int, channels: int) -> None:
        super().__init__()
        self.shallow = nn.Sequential(
            nn.Conv2d(shallow_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=False),  # scale and shift come from the cue
        )
        self.cue = nn.Conv2d(channels, 2 * channels, 1)
        self.mix = conv_norm_relu(channels, channels, 1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """(B, shallow_channels, h, w) and (B, K, any size) -> (B, K, h, w)."""
        strongest = deep.amax(dim=(-2, -1), keepdim=True)
        scale, shift = self.cue(strongest).chunk(2, dim=1)
        return self.mix((self.shallow(shallow) * (1 + scale) + shift).relu())


class StochasticGate(nn.Module):
    """Mixes a deep and a shallow feature of one shape: in training each value is the shallow one
    with chance psi, else the deep one; afterwards the mean of the two with these shares."""

    def __init__(self, psi: float) -> None:
        super().__init__()
        self.psi = psi

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        if not self.training:
            return deep.lerp(shallow, self.psi)
        return torch.where(torch.rand_like(deep) < self.psi, shallow, deep)

    def extra_repr(self) -> str:
        return f"psi={self.psi}"


@SEM_SEG_HEADS_REGISTRY.register()
class WSSSHead(nn.Module):
    """ASPP, skip connection, global cue injection, stochastic gate, class logits."""

    @configurable
    def __init__(
        self,
        *,
        deep: tuple[str, int],
        shallow: tuple[str, int],
        channels: int,
        rates: Sequence[int],
        image_pooling: bool,
        psi: float,
        dropout: float,
        num_classes: int,
    ) -> None:
        """
        Args:
            deep, shallow: names and channels of the two features that are used.
            rates, image_pooling: of ASPP.
            psi: share of the shallow feature in the gate; 0 leaves cue injection and gate out.
            dropout: before the last convolution.
        """
        super().__init__()
        self.deep_feature, deep_channels = deep
        self.shallow_feature, shallow_channels = shallow
        self.aspp = ASPP(deep_channels, channels, rates, image_pooling=image_pooling)
        self.skip = conv_norm_relu(shallow_channels, SKIP_CHANNELS, 1)
        self.fuse = conv_norm_relu(channels + SKIP_CHANNELS, channels, 3)
        self.psi = psi
        if psi:
            self.injection = GlobalCueInjection(shallow_channels, channels)
            self.gate = StochasticGate(psi)
        self.last = nn.Sequential(
            conv_norm_relu(channels, channels, 3),
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes, 1),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        node = cfg.MODEL.WSSS
        check_choice("MODEL.WSSS.DEEP_FEATURE", node.DEEP_FEATURE, input_shape)
        check_choice("MODEL.WSSS.SHALLOW_FEATURE", node.SHALLOW_FEATURE, input_shape)
        return {
            "deep": (node.DEEP_FEATURE, input_shape[node.DEEP_FEATURE].channels),
            "shallow": (node.SHALLOW_FEATURE, input_shape[node.SHALLOW_FEATURE].channels),
            "channels": node.HEAD_CHANNELS,
            "rates": node.ASPP_RATES,
            "image_pooling": node.ASPP_IMAGE_POOLING,
            "psi": node.PSI,
            "dropout": node.DROPOUT,
            "num_classes": node.NUM_CLASSES,
        }

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The backbone's features -> (B, C, h, w) logits at the shallow feature's stride."""
        shallow = inputs[self.shallow_feature]
        deep = upsample(self.aspp(inputs[self.deep_feature]), shallow.shape[-2:])
        features = self.fuse(torch.cat([deep, self.skip(shallow)], dim=1))
        if self.psi:
            features = self.gate(features, self.injection(shallow, features))
        return self.last(features)
