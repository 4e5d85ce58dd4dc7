"""Backbones in Detectron2's registry."""

from .hrnet import HRNet, build_hrnet_backbone
from .resnet import TorchvisionResNet, build_torchvision_resnet_backbone
from .vgg import DilatedVGG, build_vgg_backbone

__all__ = [
    "DilatedVGG",
    "HRNet",
    "TorchvisionResNet",
    "build_hrnet_backbone",
    "build_torchvision_resnet_backbone",
    "build_vgg_backbone",
]
