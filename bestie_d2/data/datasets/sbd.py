"""SBD, the Semantic Boundaries Dataset: outlines for 11,355 of VOC's images, in MATLAB files.

``benchmark.tgz`` holds ``benchmark_RELEASE/dataset``: ``train.txt`` and ``val.txt``, and in
``inst/<image stem>.mat`` a struct ``GTinst`` with ``Segmentation`` (H, W), numbers of the objects
from 1, and ``Categories`` (N, 1), their classes from 1 in VOC's order. There are no void pixels.
"""

from __future__ import annotations

import os
import zlib

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from bestie_d2.data.datasets.object_map import ObjectMap
from bestie_d2.data.images import Size
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

SBD_FOLDER = "benchmark_RELEASE"
INSTANCES = "GTinst"
# What scipy raises for a file that is torn, or none of MATLAB's up to version 7.
MAT_ERRORS = (OSError, ValueError, TypeError, NotImplementedError, MatReadError, zlib.error)


def sbd_list(folder: str, split: str) -> str:
    """The path of an image list, ``train`` or ``val``; ``folder`` is ``benchmark_RELEASE``."""
    return os.path.join(folder, "dataset", f"{split}.txt")


def sbd_instances(folder: str, stem: str) -> str:
    """The path of an image's objects."""
    return os.path.join(folder, "dataset", "inst", f"{stem}.mat")


def read_sbd_objects(path: str, num_classes: int, size: Size) -> ObjectMap:
    """The objects of an image.

    Raises:
        InputError: a missing or unreadable file, one of another ``size`` (height, width), or an
            object whose class is missing or above ``num_classes``.
    """
    try:
        struct = loadmat(path)[INSTANCES][0, 0]
        numbers, categories = struct["Segmentation"], struct["Categories"].ravel()
    except FileNotFoundError:
        raise InputError(f"SBD {path}: no such file") from None
    except (KeyError, IndexError):
        raise InputError(
            f"SBD {path}: has no {INSTANCES} with Segmentation and Categories; is it of 'inst'?"
        ) from None
    except MAT_ERRORS as error:
        raise InputError(f"SBD {path}: not a readable MATLAB file ({error})") from None
    if numbers.shape != tuple(size):
        raise InputError(
            f"SBD {path}: {'x'.join(map(str, numbers.shape))} pixels (height x width), but its "
            f"image has {size[0]}x{size[1]}"
        )
    classes = {}
    for number in np.setdiff1d(numbers, BACKGROUND_INDEX).tolist():
        category = int(categories[number - 1]) if number <= len(categories) else None
        if number >= IGNORE_INDEX:
            raise InputError(
                f"SBD {path}: object {number}, expected at most {IGNORE_INDEX - 1} objects"
            )
        if category not in range(1, num_classes + 1):
            raise InputError(
                f"SBD {path}: object {number} has the class {category}, expected 1..{num_classes}"
            )
        classes[number] = category - 1
    return ObjectMap(numbers.astype(np.uint8), classes)
