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
from torch import Tensor

from bestie_d2.evaluation.base import PERCENT, Column, table
from bestie_d2.evaluation.failures import (
    TRUE_POSITIVE_IOU,
    UNMATCHED,
    describe_failures,
    judge_instances,
)
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, InstanceTargets

BINS = 10  # of the score histogram, from 0 to 1
BAR = 40  # characters of its longest bar
RULE = (
    f"a label is a true positive if its IoU with a true object of its class is {TRUE_POSITIVE_IOU} "
    "or more; by falling score, each takes the free object that it overlaps most"
)


class QualityFigures(NamedTuple):
    """How many labels, true objects and true positives there are; these as a share of the labels
    and of the objects, and their mean IoU. NaN where there is nothing to divide by."""

    labels: int
    objects: int
    true_positives: int
    precision: float
    recall: float
    mean_iou: float


class PseudoLabelReport:
    """Counts over the labels of any number of images; they add up.

    Attributes:
        images, images_without: all, and those without a label.
        removed: how many instances each rule of the recipe kept from being labels.
        failures: with a truth, objects and labels of each kind, as in ``failures``.
    """

    def __init__(self, num_classes: int, *, with_truth: bool) -> None:
        self.images = self.images_without = 0
        self.removed: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._with_truth = with_truth
        self._counts = np.zeros((3, num_classes), dtype=np.int64)  # labels, objects, matches
        self._iou = np.zeros(num_classes)  # summed over the matches
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
        np.add.at(self._counts[0], classes, 1)
        self._images_with[np.unique(classes)] += 1
        bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
        np.add.at(self._by_score[:, 0], bins, 1)
        if not self._with_truth:
            return
        np.add.at(self._counts[1], [item["category_id"] for item in truth or ()], 1)
        kinds, iou, match = judge_instances(labels, truth or [])
        self.failures.update(kinds.counts())
        hits = match != UNMATCHED
        np.add.at(self._counts[2], classes[hits], 1)
        np.add.at(self._iou, classes[hits], iou[hits, match[hits]])
        np.add.at(self._by_score[:, 1], bins[hits], 1)

    def figures(self, class_id: int | None = None) -> QualityFigures:
        """Labels against true objects: of one class, or of all of them taken together."""
        chosen = slice(None) if class_id is None else slice(class_id, class_id + 1)
        labels, objects, hits = self._counts[:, chosen].sum(axis=1).tolist()
        parts = ((hits, labels), (hits, objects), (float(self._iou[chosen].sum()), hits))
        shares = (part / whole if whole else math.nan for part, whole in parts)
        return QualityFigures(labels, objects, hits, *shares)

    def describe(self) -> list[str]:
        """A line for each thing that was counted."""
        of, images = self.figures(), max(self.images, 1)
        removed = ", ".join(f"{number} by {rule}" for rule, number in self.removed.items())
        lines = [
            f"labels: {of.labels} in {self.images} images, {of.labels / images:.2f} an image; "
            f"{PERCENT * self.images_without / images:.1f} % of the images have none",
            f"instances removed: {removed or 'none'}",
        ]
        if self._with_truth:
            lines += [
                f"against the truth: {of.true_positives} true positives at IoU "
                f"{TRUE_POSITIVE_IOU}, precision {_percent(of.precision)}, recall "
                f"{_percent(of.recall)} of {of.objects} objects, mean IoU of the true positives "
                f"{_percent(of.mean_iou)}",
                f"({RULE})",
                *describe_failures(self.failures),
            ]
        return lines

    def histogram(self) -> list[str]:
        """Labels by score as bars, and with a truth the share of true positives in each."""
        most = max(int(self._by_score[:, 0].max()), 1)
        lines = [f"score      labels{'  true in %' * self._with_truth}"]
        for index, (count, hits) in enumerate(self._by_score.tolist()):
            share = f"{PERCENT * hits / count:.1f}" if count else "-"
            bar = "#" * -(-BAR * count // most)
            limits = f"{index / BINS:.1f} - {(index + 1) / BINS:.1f}"
            lines.append(f"{limits}{count:8d}{f'{share:>11}' * self._with_truth}  {bar}".rstrip())
        return lines

    def table(self, class_names: Sequence[str]) -> str:
        """The figures of each class that has labels or true objects, as a table."""
        seen = np.flatnonzero(self._counts[:2].any(axis=0)).tolist()
        columns: dict[str, Column] = {
            "class": [class_names[i] for i in seen],
            "images": self._images_with[seen],
            "labels": self._counts[0, seen],
        }
        if self._with_truth:
            of = [self.figures(i) for i in seen]
            columns |= {"objects": [f.objects for f in of]}
            columns |= {"true pos.": [f.true_positives for f in of]}
            columns |= {"precision": [_percent(f.precision) for f in of]}
            columns |= {"recall": [_percent(f.recall) for f in of]}
            columns |= {"IoU": [_percent(f.mean_iou) for f in of]}
        return table(columns)


def _percent(share: float) -> str:
    """A dash where there was nothing to divide by."""
    return "-" if math.isnan(share) else f"{PERCENT * share:.1f} %"


def instances_of_targets(
    targets: InstanceTargets, sem_seg: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The instances that one image's targets teach: pixels whose offsets meet in one pixel; those
    of weight 0 belong to none.

    Args:
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
