"""Layers that backbones and heads share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def set_batch_norm_momentum(module: nn.Module, momentum: float) -> None:
    """Give every batch norm of a module this momentum (PyTorch's: the share of the new value)."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.momentum = momentum


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias that keeps the size, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, 1, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def upsample(features: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Bilinear resize of (B, K, h, w) to (B, K, *size)."""
    return nn.functional.interpolate(
        features, size=tuple(size), mode="bilinear", align_corners=align_corners
    )


class ImagePooling(nn.Module):
    """The image's mean feature, everywhere; without a norm, which one pixel could not feed."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.aspp_pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.ReLU()
        )

    def forward(self, features: Tensor) -> Tensor:
        return upsample(self.aspp_pooling(features), features.shape[-2:], align_corners=True)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, dilated 3x3 and the image's mean, merged."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rates: Sequence[int],
        *,
        image_pooling: bool = True,
        dropout: float = 0.0,
    ) -> None:
        """
        Args:
            rates: dilations of the 3x3 convolutions.
            image_pooling: have the branch with the image's mean.
            dropout: chance of a merged feature to be left out.
        """
        super().__init__()
        self.convs = nn.ModuleList(
            [conv_norm_relu(in_channels, out_channels, 1)]
            + [conv_norm_relu(in_channels, out_channels, 3, dilation=rate) for rate in rates]
            + [ImagePooling(in_channels, out_channels)] * image_pooling
        )
        merged = out_channels * len(self.convs)
        self.project = nn.Sequential(*conv_norm_relu(merged, out_channels, 1), nn.Dropout(dropout))

    def forward(self, features: Tensor) -> Tensor:
        return self.project(torch.cat([conv(features) for conv in self.convs], dim=1))
