"""What the measures share: results of all processes brought together, and tables of figures."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table
from tabulate import tabulate

PERCENT = 100.0
Column = Sequence[object] | np.ndarray

logger = logging.getLogger(__name__)


def table(columns: Mapping[str, Column]) -> str:
    """Columns under their names: the first to the left, the others to the right."""
    rows = list(zip(*columns.values(), strict=True))
    sides = ["left"] + ["right"] * (len(columns) - 1)
    return tabulate(rows, list(columns), colalign=sides if rows else None, disable_numparse=True)


def decimals(values: Iterable[float], count: int) -> list[str]:
    """Numbers with so many decimals; nothing for NaN."""
    return ["" if value != value else f"{value:.{count}f}" for value in values]


class GatheringEvaluator(DatasetEvaluator):
    """Keeps something of each image, and makes figures of all: ``{task: {name: percent}}``.

    Attributes:
        task: of the results.
        title: of the table in the log, which shows figures without ``-`` in their name.
    """

    task: str
    title: str

    def __init__(self, dataset_name: str, *, distributed: bool = True) -> None:
        """``distributed``: gather what all processes saw; else what this one saw is all."""
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._class_names = list(MetadataCatalog.get(dataset_name).get("thing_classes", ()))
        self.reset()

    def keep(self, item: dict, output: dict) -> Any:
        """What counts of an image's input and output, on the host."""
        raise NotImplementedError

    def figures(self, kept: dict[Hashable, Any]) -> dict[str, float]:
        """The figures of what was kept, by image id."""
        raise NotImplementedError

    def seen(self, kept: dict[Hashable, Any]) -> str:
        """How much that is, for the log."""
        return f"{len(kept)} images"

    def reset(self) -> None:
        self._kept: dict[Hashable, Any] = {}  # by image: a distributed sampler may show one twice

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for item, output in zip(inputs, outputs, strict=True):
            self._kept[item["image_id"]] = self.keep(item, output)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """The figures; in the main process alone when distributed."""
        parts = [self._kept]
        if self._distributed:
            comm.synchronize()
            parts = comm.gather(self._kept, dst=0)
            if not comm.is_main_process():
                return {}
        kept = dict(itertools.chain.from_iterable(part.items() for part in parts))
        result = self.figures(kept)
        means = {name: value for name, value in result.items() if "-" not in name}
        what = f"{self.title} of {self._dataset_name} ({self.seen(kept)})"
        logger.info("%s:\n%s", what, create_small_table(means))
        return OrderedDict({self.task: result})
