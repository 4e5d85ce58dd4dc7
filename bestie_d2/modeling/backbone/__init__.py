"""Backbones in Detectron2's registry."""

from .timm_backbone import TimmBackbone
from .torchvision_backbones import DilatedVGG, TorchvisionResNet

__all__ = ["DilatedVGG", "TimmBackbone", "TorchvisionResNet"]
