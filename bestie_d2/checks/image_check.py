"""What a training would read of one image, read; runs in processes of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from bestie_d2.checks.weak_maps import pixels_of_indices
from bestie_d2.data.datasets.object_masks import problem_of_mask
from bestie_d2.data.images import UNREADABLE, ImageReader
from bestie_d2.data.labels.cue_positions import CuePositions, positions_of
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.errors import InputError
from bestie_d2.evaluation.weak_components import count_cues
from bestie_d2.structures import IGNORE_INDEX, PointCues

MISSING_IMAGES = "missing images"
CORRUPT_IMAGES = "images that cannot be read"
IMAGE_SIZES = "images of another size than their annotation says"
MISSING_MAPS = "missing weak maps"
CORRUPT_MAPS = "weak maps that cannot be read"
MAP_SIZES = "weak maps of another size than their image"
MAP_INDICES = "weak maps with an index that is no class"
MASKS = "masks that cannot be used"
ANY_CLASS = IGNORE_INDEX - 1  # classes with which every index is one

Problem = tuple[str, str]  # kind, line


@dataclass
class ImageResult:
    """What was found in an image.

    Attributes:
        traits: in what its image is not taken as it is stored.
        pixels: (256,) of each index of its weak map, if that could be read.
        cues: the counts of ``count_cues``, if it has cues.
        places: where its cues above the threshold lie on its weak map.
        instances: pseudo instances that a training would start with.
    """

    problems: list[Problem] = field(default_factory=list)
    traits: tuple[str, ...] = ()
    pixels: np.ndarray | None = None
    cues: dict | None = None
    places: CuePositions = field(default_factory=CuePositions)
    instances: int = 0


@dataclass(frozen=True)
class ImageCheck:
    """Reads the image of a record and all that is attached to it, one image at a time.

    Attributes:
        reader: of the images.
        num_classes: C.
        threshold: cues that score higher count.
        min_area: smaller components are dropped, in pixels of the training image.
        long_side: of the training image, in pixels, before it is scaled at random.
        masks: whether true masks are learned from.
    """

    reader: ImageReader
    num_classes: int
    threshold: float
    min_area: int
    long_side: int
    masks: bool

    def __call__(self, record: Mapping) -> ImageResult:
        result = ImageResult()
        self._check_image(record, result)
        if UNREADABLE in record:
            return result
        if "sem_seg_file_name" in record:
            self._check_weak_labels(record, result)
        if self.masks and "annotations" in record:
            result.problems += _problems_of_masks(record)
        return result

    def smallest(self, record: Mapping) -> int:
        """``min_area`` in pixels of the image itself."""
        scale = max(record["height"], record["width"]) / self.long_side
        return max(1, math.ceil(self.min_area * scale**2))

    def _check_image(self, record: Mapping, result: ImageResult) -> None:
        path = record["file_name"]
        try:
            if UNREADABLE in record:
                raise InputError(record[UNREADABLE])
            result.traits = self.reader.open_of(record).traits
        except InputError as error:
            if not os.path.isfile(path):
                kind = MISSING_IMAGES
            else:
                kind = IMAGE_SIZES if _can_be_read(self.reader.open, path) else CORRUPT_IMAGES
            result.problems.append((kind, str(error)))

    def _check_weak_labels(self, record: Mapping, result: ImageResult) -> None:
        size = (record["height"], record["width"])
        path = record["sem_seg_file_name"]
        index_map = None
        try:
            index_map = read_weak_sem_seg(path, self.num_classes, size)
            result.pixels = pixels_of_indices(index_map)
        except InputError as error:
            result.problems.append((_kind_of_map(path, size), str(error)))
        cues = unpacked(record["cues"])
        if index_map is not None:
            result.places = positions_of(cues[cues.scores > self.threshold], index_map)
        result.cues = count_cues(
            cues,
            record["image_classes"],
            threshold=self.threshold,
            index_map=index_map,
            min_area=self.smallest(record),
        )
        if "instance_labels" in record:
            areas = np.bincount(record["instance_labels"].draw(size).ravel())[1:]
            result.instances = int((areas >= self.smallest(record)).sum())
        else:
            result.instances = sum(one for *_, one, _ in result.cues["classes"])


def packed(record: Mapping) -> dict:
    """A record for the way to another process: tensors would take an open file each."""
    if "cues" not in record:
        return dict(record)
    cues: PointCues = record["cues"]
    return {**record, "cues": [part.numpy() for part in (cues.yx, cues.classes, cues.scores)]}


def unpacked(cues: Sequence[np.ndarray]) -> PointCues:
    return PointCues(*map(torch.from_numpy, cues))


def _kind_of_map(path: str, size: tuple[int, int]) -> str:
    """What is wrong with a map."""
    if not os.path.isfile(path):
        return MISSING_MAPS
    if _can_be_read(read_weak_sem_seg, path, ANY_CLASS, size):
        return MAP_INDICES
    return MAP_SIZES if _can_be_read(read_weak_sem_seg, path, ANY_CLASS) else CORRUPT_MAPS


def _can_be_read(reader: Callable, *arguments: object) -> bool:
    try:
        reader(*arguments)
    except InputError:
        return False
    return True


def _problems_of_masks(record: Mapping) -> list[Problem]:
    """Masks that Detectron2's mapper would stop at."""
    size = (record["height"], record["width"])
    problems = []
    for number, item in enumerate(record["annotations"]):
        reason = None if item.get("iscrowd", 0) else problem_of_mask(item["segmentation"], size)
        if reason:
            problems.append((MASKS, f"{record['file_name']}: object {number + 1}: {reason}"))
    return problems
