"""Dense conditional random field over ``pydensecrf``, an optional extra.

Krähenbühl & Koltun, "Efficient inference in fully connected CRFs" (NIPS 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bestie_d2.errors import InputError


def _load_pydensecrf() -> tuple[object, object]:
    """The package's two modules.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pydensecrf.densecrf as dense_crf
        from pydensecrf.utils import unary_from_softmax
    except ImportError:
        raise InputError(
            "MODEL.WSSS.TEST.CRF is True, which needs the package pydensecrf: pip install "
            "git+https://github.com/lucasb-eyer/pydensecrf (a C++ compiler builds it), or set "
            "the key to False"
        ) from None
    return dense_crf, unary_from_softmax


@dataclass
class DenseCRF:
    """Smooths probabilities along the image's edges; the numbers are usual for PASCAL VOC.

    Attributes:
        iterations: of mean-field inference.
        near_deviation: pixels, of the kernel that sees positions alone ...
        near_weight: ... and its weight.
        far_deviation: pixels, of the kernel that sees positions ...
        color_deviation: ... and colors, in 0..255 ...
        far_weight: ... and its weight.
    """

    iterations: int = 10
    near_deviation: float = 1.0
    near_weight: float = 3.0
    far_deviation: float = 67.0
    color_deviation: float = 3.0
    far_weight: float = 4.0

    def __post_init__(self) -> None:
        self._package, self._unary = _load_pydensecrf()

    def __call__(self, image: Tensor, masks: Tensor) -> Tensor:
        """(1, 3, H, W) in 0..255 and (1, C+1, H, W) probabilities -> the latter, smoothed."""
        _, count, height, width = masks.shape
        pixels = image[0].round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        field = self._package.DenseCRF2D(width, height, count)
        field.setUnaryEnergy(self._unary(np.ascontiguousarray(masks[0].float().cpu().numpy())))
        field.addPairwiseGaussian(sxy=self.near_deviation, compat=self.near_weight)
        field.addPairwiseBilateral(
            sxy=self.far_deviation,
            srgb=self.color_deviation,
            rgbim=np.ascontiguousarray(pixels),
            compat=self.far_weight,
        )
        inferred = np.array(field.inference(self.iterations)).reshape(1, count, height, width)
        return torch.from_numpy(inferred).to(masks)
