"""Backbones, heads, losses and meta-architectures."""

from . import backbone, heads, meta_arch

__all__ = ["backbone", "heads", "meta_arch"]
