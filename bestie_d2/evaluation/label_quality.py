"""How good pseudo labels are: true positives and IoU against true objects (paper: Figure 6).

The rule: labels are taken by falling score, equal scores in their given order; each takes the free
true object of its class that it overlaps most, if their IoU reaches the threshold. An object is
taken once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRUE_POSITIVE_IOU = 0.5  # smallest IoU of a true positive; paper: Figure 6
UNMATCHED = -1


def match_labels(
    iou: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    true_classes: np.ndarray,
    threshold: float = TRUE_POSITIVE_IOU,
) -> np.ndarray:
    """Which true object of an image each of its labels finds.

    Args:
        iou: (N, M) float of N labels with M true objects.
        scores: (N,) float of the labels.
        classes, true_classes: (N,) and (M,) int class ids.
        threshold: smallest IoU of a match, more than 0.

    Returns:
        (N,) int64 index of the object, or -1.
    """
    free = np.where(classes[:, None] == true_classes[None], iou, 0.0)
    match = np.full(len(classes), UNMATCHED, dtype=np.int64)
    if not free.size:
        return match
    for label in np.argsort(-scores, kind="stable"):
        best = int(free[label].argmax())
        if free[label, best] >= threshold:
            match[label] = best
            free[:, best] = 0.0
    return match


@dataclass(frozen=True)
class QualityFigures:
    """What counts of labels, true objects and matches say; NaN where there is nothing to divide by.

    Attributes:
        labels, objects, true_positives: how many.
        precision, recall: true positives as a share of the labels and of the objects.
        mean_iou: of the true positives.
    """

    labels: int
    objects: int
    true_positives: int
    precision: float
    recall: float
    mean_iou: float


class LabelQuality:
    """Labels, true objects and matches of any number of images, by class; they add up."""

    def __init__(self, num_classes: int) -> None:
        """
        Args:
            num_classes: C; classes are ``0..C-1``.
        """
        self._labels = np.zeros(num_classes, dtype=np.int64)
        self._objects = np.zeros(num_classes, dtype=np.int64)
        self._hits = np.zeros(num_classes, dtype=np.int64)
        self._iou = np.zeros(num_classes)

    def add(
        self, iou: np.ndarray, classes: np.ndarray, true_classes: np.ndarray, match: np.ndarray
    ) -> None:
        """Add one image; the arguments are those and the result of :func:`match_labels`."""
        (hits,) = np.nonzero(match != UNMATCHED)
        np.add.at(self._labels, classes, 1)
        np.add.at(self._objects, true_classes, 1)
        np.add.at(self._hits, classes[hits], 1)
        np.add.at(self._iou, classes[hits], iou[hits, match[hits]])

    def figures(self, class_id: int | None = None) -> QualityFigures:
        """The figures of one class, or of all of them taken together."""
        chosen = slice(None) if class_id is None else slice(class_id, class_id + 1)
        labels, objects, hits = (
            int(counts[chosen].sum()) for counts in (self._labels, self._objects, self._hits)
        )
        precision, recall = _share(hits, labels), _share(hits, objects)
        mean_iou = _share(float(self._iou[chosen].sum()), hits)
        return QualityFigures(labels, objects, hits, precision, recall, mean_iou)


def _share(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
