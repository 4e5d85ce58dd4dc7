"""Classes of a data set that count where only some of them do; the others are background.

Index maps and text files of cues know classes by number alone, and what comes with a data set has
the numbers of all its classes. Here they become those of the classes that count.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, PointCues, wsss_index

KEPT = "kept_classes"  # of a data set's metadata: its KeptClasses; not there if all classes count
MAP_KEPT = "sem_seg_kept"  # of a record whose weak map has the indices of all classes: the same
NOWHERE = -1  # the number of a class that does not count


@dataclass(frozen=True)
class KeptClasses:
    """Names of all classes, by their numbers ``0..W-1``, and of those that count, ``0..C-1``."""

    whole: tuple[str, ...]
    names: tuple[str, ...]

    @staticmethod
    def choose(names: Sequence[str], whole: Sequence[str], dataset_name: str) -> KeptClasses:
        """Those of ``names``; one that is no class of the data set is an ``InputError``."""
        for name in names:
            if name not in whole:
                nearest = difflib.get_close_matches(name, whole, 1, 0)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                raise InputError(
                    f"DATASETS.SUBSET: {name!r} is no class of {dataset_name!r}{hint} "
                    f"(its classes: {', '.join(whole)})"
                )
        return KeptClasses(tuple(whole), tuple(names))

    @cached_property
    def numbers(self) -> np.ndarray:
        """(W,) int64, the number of each class among those that count, or ``NOWHERE``."""
        numbers = np.full(len(self.whole), NOWHERE)
        for number, name in enumerate(self.names):
            numbers[self.whole.index(name)] = number
        return numbers

    def tags(self, image_classes: Iterable[int]) -> list[int]:
        """Sorted class ids of an image, without those that do not count."""
        return sorted(n for n in self.numbers[list(image_classes)].tolist() if n != NOWHERE)

    def objects(self, annotations: Iterable[Mapping]) -> list[dict]:
        """Annotations with ``category_id``, without those of classes that do not count."""
        numbered = [{**a, "category_id": int(self.numbers[a["category_id"]])} for a in annotations]
        return [annotation for annotation in numbered if annotation["category_id"] != NOWHERE]

    def cues(self, cues: PointCues) -> PointCues:
        """Cues without those of classes that do not count."""
        classes = torch.from_numpy(self.numbers)[cues.classes]
        return PointCues(cues.yx, classes, cues.scores)[classes != NOWHERE]

    def index_map(self, index_map: np.ndarray) -> np.ndarray:
        """(H, W) uint8 WSSS indices; those of classes that do not count become background."""
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
        table[BACKGROUND_INDEX] = BACKGROUND_INDEX
        table[wsss_index(np.arange(len(self.whole)))] = wsss_index(self.numbers)
        return table[index_map]
