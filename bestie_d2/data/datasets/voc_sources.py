"""VOC 2012 and SBD as they are downloaded, read together.

SBD, the Semantic Boundaries Dataset, outlines objects in 11,355 of VOC's images. ``benchmark.tgz``
holds ``benchmark_RELEASE/dataset``: ``train.txt`` and ``val.txt``, and in ``inst/<image stem>.mat``
a MATLAB struct ``GTinst`` with ``Segmentation`` (H, W), numbers of the objects from 1, and
``Categories`` (N, 1), their classes from 1 in VOC's order. There are no void pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from tqdm import tqdm

from bestie_d2.data.datasets.object_masks import ObjectMap
from bestie_d2.data.datasets.voc import PREPARE, TRAIN_AUG, VOC_CLASSES, VocFolder, read_list
from bestie_d2.data.images import Size, image_size
from bestie_d2.data.labels.attach import check_present
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

SBD_FOLDER = "benchmark_RELEASE"
SBD_STRUCT = "GTinst"


@dataclass(frozen=True)
class VocImage:
    """An image with its labels; ``tags`` are contiguous classes."""

    stem: str
    size: Size
    tags: set[int]  # that its XML names
    objects: ObjectMap
    class_map: str | None  # path of VOC's own; None where the objects are SBD's


class VocSources:
    """VOC and SBD, and the images of train, val and train_aug: those of SBD's two lists and of
    VOC's train, without VOC's val."""

    def __init__(self, voc: VocFolder, sbd: str) -> None:
        self.voc, self.sbd = voc, os.path.join(sbd, "dataset")
        hint = f"put SBD into {sbd} as docs/data_sets.md shows"
        lists = [os.path.join(self.sbd, f"{split}.txt") for split in ("train", "val")]
        outlined = {stem for path in lists for stem in read_list(path, hint)}
        train, val = voc.stems("train"), voc.stems("val")
        train_aug = sorted({*train, *outlined} - set(val))
        self.stems = {"train": train, "val": val, TRAIN_AUG: train_aug}
        self.with_voc_masks = {*train, *val}  # SBD's masks count for the others

    def sbd_file(self, stem: str) -> str:
        return os.path.join(self.sbd, "inst", f"{stem}.mat")

    def check(self, given_list: Path) -> None:
        """Refuse sources in which a file of a listed image is missing, and a ``train_aug`` list
        that is there already and has other images."""
        everything = sorted({*self.stems[TRAIN_AUG], *self.stems["val"]})
        for what, folder, stems in (
            ("image", "JPEGImages", everything),
            ("annotation", "Annotations", everything),
            ("truth", "SegmentationObject", sorted(self.with_voc_masks)),
            ("truth", "SegmentationClass", sorted(self.with_voc_masks)),
        ):
            check_present(what, [self.voc.file(folder, stem) for stem in stems])
        others = [stem for stem in everything if stem not in self.with_voc_masks]
        check_present("SBD truth", list(map(self.sbd_file, others)))
        if given_list.exists():
            given, expected = set(read_list(str(given_list), PREPARE)), set(self.stems[TRAIN_AUG])
            if given != expected:
                raise InputError(
                    f"{given_list}: is there already with other images than SBD's and VOC's train "
                    f"without VOC's val (lacking: {len(expected - given)}, too many: "
                    f"{len(given - expected)}); move it away, then run this again"
                )

    def read(self, split: str) -> Iterator[VocImage]:
        """The images with their labels; what their XML says of the size is not relied on."""
        for stem in tqdm(self.stems[split], desc=split, unit="image"):
            tags = set(self.voc.read_xml(stem)["image_classes"])
            size = image_size(self.voc.file("JPEGImages", stem))
            if stem in self.with_voc_masks:
                objects = self.voc.read_objects(stem, size)
                class_map = self.voc.file("SegmentationClass", stem)
            else:
                objects, class_map = read_sbd_objects(self.sbd_file(stem), size), None
            yield VocImage(stem, size, tags, objects, class_map)


@lru_cache(maxsize=1)
def _reader() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


def _mat_file(path: str) -> dict[str, Any]:
    """Read in a process of its own, which a damaged file may end: SciPy's C code trusts lengths."""
    return _reader().submit(loadmat, path).result()


def read_sbd_objects(path: str, size: Size) -> ObjectMap:
    """SBD's objects of an image of ``size`` (height, width); bad files are refused."""
    try:
        struct = _mat_file(path)[SBD_STRUCT][0, 0]
        numbers, categories = struct["Segmentation"], struct["Categories"].ravel()
    except FileNotFoundError:
        raise InputError(f"SBD {path}: no such file") from None
    except BrokenProcessPool:
        _reader.cache_clear()
        raise InputError(f"SBD {path}: not a readable MATLAB file (SciPy crashed on it)") from None
    except (KeyError, IndexError):
        raise InputError(
            f"SBD {path}: has no {SBD_STRUCT} with Segmentation and Categories; is it of 'inst'?"
        ) from None
    except Exception as error:  # whatever SciPy raises on a damaged file
        raise InputError(f"SBD {path}: not a readable MATLAB file ({error})") from None
    if numbers.shape != tuple(size):
        raise InputError(
            f"SBD {path}: {'x'.join(map(str, numbers.shape))} pixels (height x width), but its "
            f"image has {size[0]}x{size[1]}"
        )
    classes = {}
    for number in np.setdiff1d(numbers, BACKGROUND_INDEX).tolist():
        category = int(categories[number - 1]) if number <= len(categories) else None
        where, num_classes = f"SBD {path}: object {number}", len(VOC_CLASSES)
        if number >= IGNORE_INDEX:
            raise InputError(f"{where}, expected at most {IGNORE_INDEX - 1} objects")
        if category is None or not 1 <= category <= num_classes:
            raise InputError(f"{where} has the class {category}, expected 1..{num_classes}")
        classes[number] = category - 1
    return ObjectMap(numbers.astype(np.uint8), classes)
