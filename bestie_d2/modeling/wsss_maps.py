"""From a network's probabilities to weak semantic maps.

Legend: ``C`` classes, ``H, W`` the map. Channel 0 of a probability map is the background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from skimage.segmentation import felzenszwalb
from torch import Tensor

from bestie_d2.errors import InputError
from bestie_d2.modeling.layers import upsample
from bestie_d2.structures import BACKGROUND_INDEX, wsss_index

MIN_SUPERPIXEL = 0.25  # pixels for each unit of scale; tried on photographs of 352 pixels


def mean_over_views(
    probabilities: Callable[[Tensor], Tensor],
    images: Tensor,
    size: tuple[int, int],
    *,
    scales: Sequence[float],
    size_divisibility: int,
    flip: bool,
) -> Tensor:
    """What a network says of images seen at several sizes, and in the mirror.

    Args:
        probabilities: (B, 3, h, w) images -> (B, C+1, any size).
        images: (B, 3, h, w).
        size: (H, W) of the result.
        scales: multiples of the images' size ...
        size_divisibility: ... with sides rounded to a multiple of this.
        flip: see the mirror images as well.

    Returns:
        (B, C+1, H, W), the mean.
    """
    step = size_divisibility

    def views() -> Iterator[Tensor]:
        for scale in scales:
            sides = [max(round(side * scale / step), 1) * step for side in images.shape[-2:]]
            seen = upsample(images, sides)
            yield upsample(probabilities(seen), size)
            if flip:
                yield upsample(probabilities(seen.flip(-1)).flip(-1), size)

    # Summed as they come: at full size, a view of many classes is large.
    total, count = torch.zeros(()), 0
    for view in views():
        total = total.add_(view) if count else view
        count += 1
    return total / count


def normalized(masks: Tensor) -> Tensor:
    """(B, K, H, W) masks, divided by their sum over K."""
    return masks / masks.sum(dim=1, keepdim=True).clamp(min=torch.finfo(masks.dtype).tiny)


def possible_indices(image_classes: Tensor | Sequence[int]) -> list[int]:
    """Indices of the background and of the classes, (C,) bool or class ids, of an image's tags."""
    if isinstance(image_classes, Tensor):
        image_classes = image_classes.nonzero().flatten().tolist()
    return [BACKGROUND_INDEX, *(wsss_index(class_id) for class_id in image_classes)]


def suppress_background(masks: Tensor, power: float) -> Tensor:
    """(B, K, H, W) probabilities, the background's (the first) to a power; they sum to 1."""
    return normalized(torch.cat([masks[:, :1] ** power, masks[:, 1:]], dim=1))


def _pixels(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of (1, 3, H, W) in 0..255."""
    return image[0].round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()


def mean_over_superpixels(image: Tensor, masks: Tensor, scales: Sequence[float]) -> Tensor:
    """Masks in which a pixel takes the mean of its superpixel, then that of several sizes of them.

    Felzenszwalb & Huttenlocher, "Efficient graph-based image segmentation" (IJCV 2004).

    Args:
        image: (1, 3, H, W) in 0..255.
        masks: (1, K, H, W).
        scales: of the superpixels, one or more; they grow with it.

    Returns:
        (1, K, H, W).
    """
    pixels, flat = _pixels(image), masks[0].flatten(1)
    total = torch.zeros_like(flat)
    for scale in scales:
        found = felzenszwalb(pixels, scale=scale, min_size=round(scale * MIN_SUPERPIXEL))
        ids = torch.from_numpy(found).flatten().to(masks.device)
        sums = flat.new_zeros(len(flat), int(ids.max()) + 1).index_add_(1, ids, flat)
        total += (sums / ids.bincount())[:, ids]
    return (total / len(scales)).view_as(masks)


class DenseCRF:
    """Smooths probabilities along the image's edges; the numbers are usual for PASCAL VOC.

    Krähenbühl & Koltun, "Efficient inference in fully connected CRFs" (NIPS 2011), over
    ``pydensecrf``, an optional extra.
    """

    ITERATIONS = 10  # of mean-field inference
    NEAR = {"sxy": 1.0, "compat": 3.0}  # of the kernel of positions alone: deviation, weight
    FAR = {"sxy": 67.0, "srgb": 3.0, "compat": 4.0}  # of the kernel that sees colors in 0..255 too

    def __init__(self) -> None:
        try:
            from pydensecrf.densecrf import DenseCRF2D
            from pydensecrf.utils import unary_from_softmax
        except ImportError:
            raise InputError(
                "MODEL.WSSS.TEST.CRF is True, which needs the package pydensecrf: pip install "
                "git+https://github.com/lucasb-eyer/pydensecrf (a C++ compiler builds it), or set "
                "the key to False"
            ) from None
        self._field, self._unary = DenseCRF2D, unary_from_softmax

    def __call__(self, image: Tensor, masks: Tensor) -> Tensor:
        """(1, 3, H, W) in 0..255 and (1, C+1, H, W) probabilities -> the latter, smoothed."""
        _, count, height, width = masks.shape
        pixels = _pixels(image)
        field = self._field(width, height, count)
        field.setUnaryEnergy(self._unary(np.ascontiguousarray(masks[0].float().cpu().numpy())))
        field.addPairwiseGaussian(**self.NEAR)
        field.addPairwiseBilateral(rgbim=np.ascontiguousarray(pixels), **self.FAR)
        inferred = np.array(field.inference(self.ITERATIONS)).reshape(masks.shape)
        return torch.from_numpy(inferred).to(masks)
