"""Whether a classifier has learned its classes: average precision and F1 of image tags."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from bestie_d2.evaluation.base import PERCENT, GatheringEvaluator
from bestie_d2.evaluation.voc_instance import average_precision

TAG_LOGIT = 0.0  # a class whose logit is above it counts as found: probability above 1/2


def image_tag_scores(
    logits: np.ndarray, tags: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """How well logits (N, C) rank and tell the classes of images whose tags are (N, C) bool.

    Returns:
        In percent: ``mAP``, the mean over the classes that occur of the exact area under the
        monotone precision-recall curve (as in VOC's classification task); ``F1``, ``precision`` and
        ``recall`` over all decisions at probability 1/2; ``AP-<name>`` of each class, NaN where it
        does not occur.
    """
    precision = {}
    for index, name in enumerate(class_names):
        hits = tags[np.argsort(-logits[:, index], kind="stable"), index]
        count = int(hits.sum())
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


class ImageTagEvaluator(GatheringEvaluator):
    """Detectron2 evaluator: ``{"image_tags": {"mAP": ..., "F1": ..., "AP-<class>": ...}}``; the
    records' ``image_classes`` are the truth of ``tag_logits`` (C,)."""

    task, title = "image_tags", "image tags"

    def keep(self, item: dict, output: dict) -> tuple[list[float], list[int]]:
        return output["tag_logits"].tolist(), list(item["image_classes"])

    def figures(self, kept: dict[Hashable, tuple[list[float], list[int]]]) -> dict[str, float]:
        shape = (len(kept), len(self._class_names))
        logits = np.array([row for row, _ in kept.values()], dtype=np.float64).reshape(shape)
        tags = np.zeros(shape, dtype=bool)
        for row, (_, classes) in zip(tags, kept.values(), strict=True):
            row[classes] = True
        return image_tag_scores(logits, tags, self._class_names)
