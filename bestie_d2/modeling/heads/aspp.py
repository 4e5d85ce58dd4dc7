"""Panoptic-DeepLab's decoder: ASPP on the deepest features, then fusion with shallower ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bestie_d2.modeling.layers import conv_norm_relu, upsample

ATROUS_RATES = (3, 6, 9)
DROPOUT = 0.5
ASPP_CHANNELS = 256
FUSE_KERNEL = 5


def separable_fuse(in_channels: int, out_channels: int) -> nn.Sequential:
    """5x5 depthwise separable convolution: depthwise, BN, ReLU, pointwise, BN, ReLU."""
    return nn.Sequential(
        conv_norm_relu(in_channels, in_channels, FUSE_KERNEL, groups=in_channels),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ImagePooling(nn.Module):
    """The image's mean feature, everywhere; without a norm, which one pixel could not feed."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.aspp_pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.ReLU()
        )

    def forward(self, features: Tensor) -> Tensor:
        size = tuple(features.shape[-2:])
        return upsample(self.aspp_pooling(features), size, align_corners=True)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and the image's mean, merged."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [conv_norm_relu(in_channels, ASPP_CHANNELS, 1)]
            + [conv_norm_relu(in_channels, ASPP_CHANNELS, 3, dilation=r) for r in ATROUS_RATES]
            + [ImagePooling(in_channels, ASPP_CHANNELS)]
        )
        merged = ASPP_CHANNELS * len(self.convs)
        self.project = nn.Sequential(*conv_norm_relu(merged, ASPP_CHANNELS, 1), nn.Dropout(DROPOUT))

    def forward(self, features: Tensor) -> Tensor:
        return self.project(torch.cat([conv(features) for conv in self.convs], dim=1))


class PyramidDecoder(nn.Module):
    """ASPP on ``res5``, then upsampled and fused with ``res4``, ``res3`` and ``res2`` in turn."""

    SHALLOWER = ("res4", "res3", "res2")

    def __init__(
        self,
        in_channels: dict[str, int],
        projected_channels: tuple[int, int, int],
        out_channels: int,
    ) -> None:
        """
        Args:
            in_channels: of ``res2`` to ``res5``.
            projected_channels: that ``res4``, ``res3`` and ``res2`` are reduced to before a fusion.
            out_channels: of every fusion, and so of the output (stride 4).
        """
        super().__init__()
        self.aspp = ASPP(in_channels["res5"])
        self.project = nn.ModuleList(
            conv_norm_relu(in_channels[name], channels, 1)
            for name, channels in zip(self.SHALLOWER, projected_channels, strict=True)
        )
        before = (ASPP_CHANNELS, out_channels, out_channels)
        self.fuse = nn.ModuleList(
            separable_fuse(deep + side, out_channels)
            for deep, side in zip(before, projected_channels, strict=True)
        )

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        x = self.aspp(features["res5"])
        for name, project, fuse in zip(self.SHALLOWER, self.project, self.fuse, strict=True):
            side = project(features[name])
            x = upsample(x, tuple(side.shape[-2:]), align_corners=True)
            x = fuse(torch.cat([x, side], dim=1))
        return x
