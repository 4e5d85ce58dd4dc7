"""BESTIE's maps as one graph for pictures of any size, which exporters can trace."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from bestie_d2.modeling.inputs import sides_of_multiples
from bestie_d2.modeling.layers import InterleavedConv2d, upsample
from bestie_d2.modeling.meta_arch.bestie import BESTIE


class TraceableMaps(nn.Module):
    """What :meth:`BESTIE.predict_maps` computes, without Python's numbers in between: sizes are
    tensors, which a trace follows, and nothing says which device all is on."""

    def __init__(self, model: BESTIE) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        plain: Any = nn.Conv2d
        for layer in self.model.modules():
            if isinstance(layer, InterleavedConv2d):  # made for PyTorch's kernels alone
                layer.__class__ = plain

    def forward(self, image: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The maps of one picture.

        Args:
            image: (3, h, w) in 0..255, as the network sees it.
            size: (2,) int64 (H, W) of the maps.

        Returns:
            (C+1, H, W) class probabilities, (C, H, W) centers and (2, H, W) offsets in pixels of
            the maps.
        """
        images = (image[None] - self.model.pixel_mean) / self.model.pixel_std
        # Tensors while it is traced, where the model is used to numbers.
        seen: Any = sides_of_multiples(images.shape[-2:], self.model.size_divisibility)
        wanted: Any = size.unbind()
        views = self.model.look_at(upsample(images, seen), wanted)
        return self.model.merge(views, (wanted[0] / seen[0], wanted[1] / seen[1]))
