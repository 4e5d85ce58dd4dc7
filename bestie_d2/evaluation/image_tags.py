"""Whether a classifier has learned its classes: average precision and F1 of image tags."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table

from bestie_d2.evaluation.voc_instance import PERCENT, average_precision

TAG_LOGIT = 0.0  # a class whose logit is above it counts as found: probability above 1/2

logger = logging.getLogger(__name__)


def image_tag_scores(
    logits: np.ndarray, tags: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """How well logits rank and tell the classes of images.

    Args:
        logits: (N, C) float, one row an image.
        tags: (N, C) bool, the truth.
        class_names: of the C classes.

    Returns:
        In percent: ``mAP``, the mean over the classes that occur of the exact area under the
        monotone precision-recall curve (as in VOC's classification task); ``F1``, ``precision`` and
        ``recall`` over all decisions at probability 1/2; ``AP-<name>`` of each class, NaN where it
        does not occur.
    """
    precision = {}
    for index, name in enumerate(class_names):
        order = np.argsort(-logits[:, index], kind="stable")
        count = int(tags[:, index].sum())
        hits = tags[order, index]
        precision[name] = PERCENT * average_precision(hits, count) if count else float("nan")
    found = logits > TAG_LOGIT
    right = int((found & tags).sum())
    known = [value for value in precision.values() if value == value]
    return {
        "mAP": float(np.mean(known)) if known else float("nan"),
        "F1": PERCENT * 2 * right / max(int(found.sum()) + int(tags.sum()), 1),
        "precision": PERCENT * right / max(int(found.sum()), 1),
        "recall": PERCENT * right / max(int(tags.sum()), 1),
        **{f"AP-{name}": value for name, value in precision.items()},
    }


class ImageTagEvaluator(DatasetEvaluator):
    """Detectron2 evaluator: ``{"image_tags": {"mAP": ..., "F1": ..., "AP-<class>": ...}}``."""

    def __init__(self, dataset_name: str, *, distributed: bool = True) -> None:
        """
        Args:
            dataset_name: a registered data set; its records' ``image_classes`` are the truth.
            distributed: gather the logits of all processes; else this one's are all.
        """
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._class_names = list(MetadataCatalog.get(dataset_name).thing_classes)
        self.reset()

    def reset(self) -> None:
        self._rows: list[tuple[list[float], list[int]]] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep ``tag_logits`` (C,) of the outputs beside ``image_classes`` of the inputs."""
        for item, output in zip(inputs, outputs, strict=True):
            self._rows.append((output["tag_logits"].tolist(), list(item["image_classes"])))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """The figures; in the main process alone when distributed."""
        parts = [self._rows]
        if self._distributed:
            comm.synchronize()
            parts = comm.gather(self._rows, dst=0)
            if not comm.is_main_process():
                return {}
        rows = list(itertools.chain.from_iterable(parts))
        num_classes = len(self._class_names)
        logits = np.array([row for row, _ in rows], dtype=np.float64).reshape(-1, num_classes)
        tags = np.zeros(logits.shape, dtype=bool)
        for index, (_, classes) in enumerate(rows):
            tags[index, classes] = True
        result = image_tag_scores(logits, tags, self._class_names)
        means = {key: value for key, value in result.items() if not key.startswith("AP-")}
        logger.info(
            "image tags of %s (%d images):\n%s",
            self._dataset_name, len(rows), create_small_table(means),
        )  # fmt: skip
        return OrderedDict(image_tags=result)
