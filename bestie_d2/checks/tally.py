"""The counts of a data set, image by image, and how a report tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import tabulate

from bestie_d2.checks.image_check import ImageResult
from bestie_d2.checks.weak_maps import WeakMapReport
from bestie_d2.data.labels.cue_positions import CuePositions
from bestie_d2.data.names import label_name
from bestie_d2.evaluation.weak_components import CueSummary

PERCENT = 100.0


def objects_of(record: Mapping) -> list[int]:
    """The class of each object of a record with true masks that is no crowd."""
    return [a["category_id"] for a in record["annotations"] if not a.get("iscrowd", 0)]


def classes_of_image(record: Mapping) -> list[int]:
    """The classes that an image is known to show."""
    if "annotations" in record:
        return sorted(set(objects_of(record)))
    return list(record.get("image_classes", ()))  # Detectron2's own sets have none


class Tally:
    """Images, objects and weak labels of each class, added up."""

    def __init__(self, class_names: Sequence[str], images: int) -> None:
        self._names = class_names
        self._maps = WeakMapReport(class_names, images)
        self._cues = CueSummary.empty(len(class_names))
        self._images = np.zeros(len(class_names), np.int64)
        self._objects = np.zeros(len(class_names), np.int64)
        self._without_class = 0
        self.places = CuePositions()  # of all cues that are used
        self._instances: list[int] = []  # pseudo instances of each image
        self._has_masks = False

    def add(self, record: Mapping, result: ImageResult) -> None:
        """Add one image."""
        classes = classes_of_image(record)
        if "annotations" in record:
            self._has_masks = True
            np.add.at(self._objects, objects_of(record), 1)
        self._images[classes] += 1
        self._without_class += not classes
        if result.pixels is not None:
            self._maps.add(label_name(record), result.pixels, classes)
        if result.cues is not None:
            self._cues.add(result.cues)
            self.places += result.places
            self._instances.append(result.instances)

    @property
    def never(self) -> list[str]:
        """Classes that no image has."""
        return [name for name, images in zip(self._names, self._images, strict=True) if not images]

    @property
    def pseudo_instances(self) -> int | None:
        """How many a training would start with; None where it needs none."""
        return sum(self._instances) if self._instances else None

    def table(self) -> str:
        """A row for each class."""
        total = max(self._maps.images, 1)
        columns = {
            "class": self._names,
            "images": self._images,
            "share, %": [f"{PERCENT * images / total:.1f}" for images in self._images],
        }
        if self._has_masks:
            columns["objects"] = self._objects
        if self._instances:
            counts = zip(("cues", "none", "one", "several"), self._cues.by_class.T[1:], strict=True)
            columns |= {"drawn in": self._maps.drawn, **dict(counts)}
        return tabulate(columns, headers="keys")

    def describe(self, threshold: float) -> list[str]:
        """Lines below the table."""
        lines = [f"{self._without_class} of {self._maps.images} images have no class"]
        if not self._instances:
            return lines
        used = sum(count > 0 for count in self._instances)
        return [
            *lines,
            *self._maps.describe(),
            *self._cues.describe(threshold),
            *([self.places.describe()] if self.places.points else []),
            f"training would start with {sum(self._instances)} pseudo instances, in {used} of "
            f"{len(self._instances)} images (at their own size; scales and crops are random)",
        ]
