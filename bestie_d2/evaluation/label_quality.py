"""How good pseudo labels are: true positives and IoU against true objects (paper: Figure 6).

The rule: labels are taken by falling score, equal scores in their given order; each takes the free
true object of its class that it overlaps most, if their IoU reaches the threshold. An object is
taken once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from pycocotools import mask as mask_api
from torch import Tensor

from bestie_d2.evaluation.base import PERCENT, Column, table
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, InstanceTargets

TRUE_POSITIVE_IOU = 0.5  # smallest IoU of a true positive; paper: Figure 6
UNMATCHED = -1
BINS = 10  # of the score histogram, from 0 to 1
BAR = 40  # characters of its longest bar
RULE = (
    f"a label is a true positive if its IoU with a true object of its class is {TRUE_POSITIVE_IOU} "
    "or more; by falling score, each takes the free object that it overlaps most"
)


def match_labels(
    iou: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    true_classes: np.ndarray,
    threshold: float = TRUE_POSITIVE_IOU,
) -> np.ndarray:
    """(N,) index of the true object of an image that each of its labels finds, or -1, by (N, M) IoU
    of labels with objects; (N,) scores and classes, (M,) true classes; threshold above 0."""
    free = np.where(classes[:, None] == true_classes[None], iou, 0.0)
    match = np.full(len(classes), UNMATCHED, dtype=np.int64)
    for label in np.argsort(-scores, kind="stable") if free.size else ():
        best = int(free[label].argmax())
        if free[label, best] >= threshold:
            match[label] = best
            free[:, best] = 0.0
    return match


class QualityFigures(NamedTuple):
    """How many labels, true objects and true positives there are; these as a share of the labels
    and of the objects, and their mean IoU. NaN where there is nothing to divide by."""

    labels: int
    objects: int
    true_positives: int
    precision: float
    recall: float
    mean_iou: float


class LabelQuality:
    """Labels, true objects and matches of any number of images, by class; they add up."""

    def __init__(self, num_classes: int) -> None:
        self._counts = np.zeros((3, num_classes), dtype=np.int64)  # labels, objects, matches
        self._iou = np.zeros(num_classes)  # summed over the matches

    def add(
        self, iou: np.ndarray, classes: np.ndarray, true_classes: np.ndarray, match: np.ndarray
    ) -> None:
        """Add one image; the arguments are those and the result of :func:`match_labels`."""
        (hits,) = np.nonzero(match != UNMATCHED)
        for counts, counted in zip(
            self._counts, (classes, true_classes, classes[hits]), strict=True
        ):
            np.add.at(counts, counted, 1)
        np.add.at(self._iou, classes[hits], iou[hits, match[hits]])

    def figures(self, class_id: int | None = None) -> QualityFigures:
        """The figures of one class, or of all of them taken together."""
        chosen = slice(None) if class_id is None else slice(class_id, class_id + 1)
        labels, objects, hits = self._counts[:, chosen].sum(axis=1).tolist()
        parts = ((hits, labels), (hits, objects), (float(self._iou[chosen].sum()), hits))
        shares = (part / whole if whole else math.nan for part, whole in parts)
        return QualityFigures(labels, objects, hits, *shares)


class PseudoLabelReport:
    """Counts over the labels of any number of images; they add up.

    Attributes:
        images, images_without: all, and those without a label.
        labels: (C,) int64 by class.
        removed: how many instances each rule of the recipe kept from being labels.
        quality: labels against true objects; None where no truth is known.
    """

    def __init__(self, num_classes: int, *, with_truth: bool) -> None:
        self.images = 0
        self.images_without = 0
        self.labels = np.zeros(num_classes, dtype=np.int64)
        self.removed: Counter[str] = Counter()
        self.quality = LabelQuality(num_classes) if with_truth else None
        self._images_with = np.zeros(num_classes, dtype=np.int64)
        self._by_score = np.zeros((BINS, 2), dtype=np.int64)  # labels, and true positives of them

    def add(
        self, labels: Sequence[Mapping], removed: Mapping[str, int], truth: Sequence[Mapping] | None
    ) -> None:
        """Add one image.

        Args:
            labels: with RLE ``segmentation``, ``category_id`` 0..C-1 and ``score`` in [0, 1].
            removed: how many instances each rule removed.
            truth: the image's true objects, with ``segmentation`` and ``category_id``.
        """
        classes = np.array([label["category_id"] for label in labels], dtype=np.int64)
        scores = np.array([label["score"] for label in labels], dtype=np.float64)
        self.images += 1
        self.images_without += not labels
        self.removed.update(removed)
        np.add.at(self.labels, classes, 1)
        self._images_with[np.unique(classes)] += 1
        bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
        np.add.at(self._by_score[:, 0], bins, 1)
        if self.quality is None or truth is None:
            return
        true_classes = np.array([item["category_id"] for item in truth], dtype=np.int64)
        iou = np.zeros((len(labels), len(truth)))
        if iou.size:
            masks = [[item["segmentation"] for item in group] for group in (labels, truth)]
            iou = mask_api.iou(*masks, [0] * len(truth))
        match = match_labels(iou, scores, classes, true_classes)
        self.quality.add(iou, classes, true_classes, match)
        np.add.at(self._by_score[:, 1], bins[match != UNMATCHED], 1)

    def describe(self) -> list[str]:
        """A line for each thing that was counted."""
        count, images = int(self.labels.sum()), max(self.images, 1)
        removed = ", ".join(f"{number} by {rule}" for rule, number in self.removed.items())
        lines = [
            f"labels: {count} in {self.images} images, {count / images:.2f} an image; "
            f"{PERCENT * self.images_without / images:.1f} % of the images have none",
            f"instances removed: {removed or 'none'}",
        ]
        if self.quality is not None:
            of = self.quality.figures()
            lines += [
                f"against the truth: {of.true_positives} true positives at IoU "
                f"{TRUE_POSITIVE_IOU}, precision {_percent(of.precision)}, recall "
                f"{_percent(of.recall)} of {of.objects} objects, mean IoU of the true positives "
                f"{_percent(of.mean_iou)}",
                f"({RULE})",
            ]
        return lines

    def histogram(self) -> list[str]:
        """Labels by score as bars, and with a truth the share of true positives in each."""
        most = max(int(self._by_score[:, 0].max()), 1)
        lines = [f"score      labels{'' if self.quality is None else '  true in %'}"]
        for index, (count, hits) in enumerate(self._by_score.tolist()):
            share = ""
            if self.quality is not None:
                share = f"{PERCENT * hits / count:11.1f}" if count else f"{'-':>11}"
            bar = "#" * -(-BAR * count // most)
            start, end = index / BINS, (index + 1) / BINS
            lines.append(f"{start:.1f} - {end:.1f}{count:8d}{share}  {bar}".rstrip())
        return lines

    def table(self, class_names: Sequence[str]) -> str:
        """The figures of each class that has labels or true objects, as a table."""
        ids = range(len(class_names))
        of = [self.quality.figures(i) for i in ids] if self.quality else []
        seen = [i for i in ids if self.labels[i] or (of and of[i].objects)]
        columns: dict[str, Column] = {
            "class": [class_names[i] for i in seen],
            "images": self._images_with[seen],
            "labels": self.labels[seen],
        }
        names = ("objects", "true pos.", "precision", "recall", "IoU")
        for column, name in enumerate(names if self.quality else (), start=1):
            values = [of[i][column] for i in seen]
            columns[name] = values if column <= 2 else [_percent(value) for value in values]
        return table(columns)


def _percent(share: float) -> str:
    """A dash where there was nothing to divide by."""
    return "-" if math.isnan(share) else f"{PERCENT * share:.1f} %"


def instances_of_targets(
    targets: InstanceTargets, sem_seg: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The instances that one image's targets teach: pixels whose offsets meet in one pixel.

    Args:
        targets: (C, H, W) or no center, (2, H, W), (H, W); pixels of weight 0 belong to none.
        sem_seg: (H, W) WSSS indices; most pixels of an instance decide its class, and where they
            say none, the instance is left out.

    Returns:
        masks (N, H, W) bool, classes (N,) int64 and weights (N,) float32, the largest of each; by
        the raster order of their centers.
    """
    height, width = sem_seg.shape
    rows, columns = torch.nonzero(targets.weight > 0, as_tuple=True)
    y = (rows + targets.offset[0, rows, columns]).round().long().clamp(0, height - 1)
    x = (columns + targets.offset[1, rows, columns]).round().long().clamp(0, width - 1)
    centers, number = torch.unique(y * width + x, return_inverse=True)
    masks = torch.zeros(len(centers), height, width, dtype=torch.bool)
    masks[number, rows, columns] = True
    classes = torch.full((len(centers),), -1)
    weights = torch.zeros(len(centers))
    for index, mask in enumerate(masks):
        values = sem_seg[mask]
        values = values[(values != BACKGROUND_INDEX) & (values != IGNORE_INDEX)]
        if len(values):
            classes[index] = values.mode().values - 1
        weights[index] = targets.weight[mask].max()
    known = classes >= 0
    return masks[known], classes[known], weights[known]
