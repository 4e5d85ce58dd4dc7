"""What a training would read of each image, read in processes of their own, and added up."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from bestie_d2.checks.training import objects_of
from bestie_d2.checks.weak_map_check import INDICES, WeakMapReport
from bestie_d2.data.datasets.object_masks import problem_of_mask
from bestie_d2.data.images import UNREADABLE, ImageReader
from bestie_d2.data.labels.cue_positions import CuePositions, positions_of
from bestie_d2.data.labels.index_png import MAX_CLASSES, read_weak_sem_seg
from bestie_d2.data.labels.kept_classes import MAP_KEPT
from bestie_d2.data.names import label_name
from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import PERCENT, table
from bestie_d2.evaluation.weak_components import CueSummary, count_cues
from bestie_d2.labeling.transfer import Transfer
from bestie_d2.model_keys import num_classes
from bestie_d2.ops.components import find_components
from bestie_d2.structures import PointCues


@dataclass
class ImageResult:
    """What was found in an image."""

    problems: list[tuple[str, str]] = field(default_factory=list)  # kind and line of each
    traits: tuple[str, ...] = ()  # in what it is not taken as it is stored
    pixels: np.ndarray | None = None  # (256,) of each index of its weak map, if that can be read
    cues: dict | None = None  # the counts of count_cues, if it has cues
    positions: CuePositions = field(default_factory=CuePositions)  # of cues above the threshold
    instances: int = 0  # pseudo instances that a training would start with


class ImageCheck:
    """Reads the image of a record and all that is attached to it, one image at a time."""

    def __init__(self, cfg: CfgNode, *, masks: bool = False) -> None:
        """``masks``: whether true masks are learned from."""
        self.reader = ImageReader.from_config(cfg)
        self._num_classes = num_classes(cfg)
        self.threshold = cfg.DATASETS.CUE_THRESHOLD
        self._min_area, self._long_side = cfg.MODEL.BESTIE.MIN_AREA, cfg.INPUT.BESTIE.LONG_SIDE
        self._split_weight = cfg.MODEL.BESTIE.SPLIT_WEIGHT
        self._masks = masks

    def __call__(self, record: Mapping) -> ImageResult:
        """Look through a record that :func:`packed` has made ready."""
        result = ImageResult()
        try:
            if UNREADABLE in record:
                raise InputError(record[UNREADABLE])
            result.traits = self.reader.open_of(record).traits
        except InputError as error:
            lesser = {"of another size than their annotation says": self.reader.open}
            result.problems.append((_kind_of("images", record["file_name"], lesser), str(error)))
        if UNREADABLE not in record:
            if "sem_seg_file_name" in record:
                self._check_weak_labels(record, result)
            if self._masks and "annotations" in record:
                _check_masks(record, result)
        return result

    def smallest(self, record: Mapping) -> int:
        """The smallest component that counts: ``MIN_AREA`` in pixels of the image itself."""
        scale = max(record["height"], record["width"]) / self._long_side
        return max(1, math.ceil(self._min_area * scale**2))

    def _check_weak_labels(self, record: Mapping, result: ImageResult) -> None:
        size, path = (record["height"], record["width"]), record["sem_seg_file_name"]
        cues = PointCues(*map(torch.from_numpy, record["cues"]))
        index_map = None
        try:
            kept = record.get(MAP_KEPT)
            index_map = read_weak_sem_seg(path, self._num_classes, size, kept=kept)
            result.pixels = np.bincount(index_map.ravel(), minlength=INDICES)
            result.positions = positions_of(cues[cues.scores > self.threshold], index_map)
        except InputError as error:
            read = partial(read_weak_sem_seg, num_classes=MAX_CLASSES)
            lesser = {"with an index that is no class": partial(read, size=size)}
            lesser["of another size than their image"] = read
            result.problems.append((_kind_of("weak maps", path, lesser), str(error)))
        tags, smallest = record["image_classes"], self.smallest(record)
        result.cues = count_cues(
            cues, tags, threshold=self.threshold, index_map=index_map, min_area=smallest
        )
        if "instance_labels" in record:
            areas = np.bincount(record["instance_labels"].draw(size).ravel())[1:]
            result.instances = int((areas >= smallest).sum())
        elif self._split_weight and index_map is not None:
            components = find_components(index_map, tags, min_area=smallest)
            sure = cues[cues.scores > self.threshold]
            found = Transfer(min_area=smallest, split_weight=self._split_weight)
            result.instances = int((found.from_cues(components, sure).weights > 0).sum())
        else:
            result.instances = sum(one for *_, one, _ in result.cues["classes"])


def packed(record: Mapping) -> dict:
    """A record for the way to another process: tensors would take an open file each."""
    if "cues" not in record:
        return dict(record)
    cues: PointCues = record["cues"]
    return {**record, "cues": [part.numpy() for part in (cues.yx, cues.classes, cues.scores)]}


def _kind_of(what: str, path: str, lesser: Mapping[str, Callable[[str], object]]) -> str:
    """The kind of a file's problem: that of the first reader, asking for less, that takes it."""
    if not os.path.isfile(path):
        return f"missing {what}"
    for problem, read in lesser.items():
        with suppress(InputError):
            read(path)
            return f"{what} {problem}"
    return f"{what} that cannot be read"


def _check_masks(record: Mapping, result: ImageResult) -> None:
    """Look for masks that Detectron2's mapper would stop at."""
    size = (record["height"], record["width"])
    for number, item in enumerate(record["annotations"], start=1):
        reason = None if item.get("iscrowd", 0) else problem_of_mask(item["segmentation"], size)
        if reason:
            line = f"{record['file_name']}: object {number}: {reason}"
            result.problems.append(("masks that cannot be used", line))


class Tally:
    """Images, objects and weak labels of each class of a data set, added up image by image."""

    def __init__(self, class_names: Sequence[str], images: int) -> None:
        self._maps = WeakMapReport(class_names, images)
        self._cues = CueSummary(len(class_names))
        self._images, self._objects = np.zeros((2, len(class_names)), np.int64)
        self._without_class = 0
        self.traits: Counter[str] = Counter()
        self.positions = CuePositions()  # of all cues that are used
        self.instances: list[int] = []  # pseudo instances of each image; of none without cues
        self._has_masks = False

    def add(self, record: Mapping, result: ImageResult) -> None:
        """Add one image."""
        classes = list(record.get("image_classes", ()))  # Detectron2's own sets have none
        if "annotations" in record:
            self._has_masks = True
            objects = [item["category_id"] for item in objects_of(record)]
            np.add.at(self._objects, objects, 1)
            classes = sorted(set(objects))
        self._images[classes] += 1
        self._without_class += not classes
        self.traits.update(result.traits)
        if result.pixels is not None:
            self._maps.add(label_name(record), result.pixels, classes)
        if result.cues is not None:
            self._cues.add(result.cues)
            self.positions += result.positions
            self.instances.append(result.instances)

    @property
    def never(self) -> list[str]:
        """Classes that no image has."""
        names = self._maps.class_names
        return [name for name, images in zip(names, self._images, strict=True) if not images]

    def describe(self, threshold: float) -> list[str]:
        """A table with a row for each class, and lines below it."""
        maps, total = self._maps, max(self._maps.images, 1)
        columns: dict[str, Any] = {
            "class": maps.class_names,
            "images": self._images,
            "share, %": [f"{PERCENT * images / total:.1f}" for images in self._images],
        }
        if self._has_masks:
            columns["objects"] = self._objects
        if self.instances:
            counts = zip(("cues", "none", "one", "several"), self._cues.by_class.T[1:], strict=True)
            columns |= {"drawn in": maps.drawn, **dict(counts)}
        lines = [table(columns), f"{self._without_class} of {maps.images} images have no class"]
        if self.instances:
            used = sum(count > 0 for count in self.instances)
            lines += [*maps.describe(), *self._cues.describe(threshold)]
            lines += [self.positions.describe()] if self.positions.points else []
            lines.append(
                f"training would start with {sum(self.instances)} pseudo instances, in {used} of "
                f"{len(self.instances)} images (at their own size; scales and crops are random)"
            )
        return lines
