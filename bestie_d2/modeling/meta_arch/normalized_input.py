"""What our meta-architectures do with images before the network sees them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NormalizedInput(nn.Module):
    """A model that knows its device and normalizes images there."""

    def __init__(self, pixel_mean: list[float], pixel_std: list[float]) -> None:
        """
        Args:
            pixel_mean, pixel_std: of each channel of the image, in 0..255.
        """
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def _normalize(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..255 -> zero mean, unit deviation, on the model's device."""
        return (images.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std
