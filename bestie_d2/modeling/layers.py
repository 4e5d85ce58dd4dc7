"""Small pieces that backbones and heads share."""

from __future__ import annotations

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
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def upsample(features: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Bilinear resize of (B, K, h, w) to (B, K, *size)."""
    return nn.functional.interpolate(
        features, size=size, mode="bilinear", align_corners=align_corners
    )
