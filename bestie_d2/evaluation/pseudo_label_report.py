"""What pseudo labels look like, and how good they are where the truth is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as mask_api
from tabulate import tabulate

from bestie_d2.evaluation.label_quality import (
    TRUE_POSITIVE_IOU,
    UNMATCHED,
    LabelQuality,
    match_labels,
)
from bestie_d2.evaluation.voc_instance import PERCENT

BINS = 10  # of the score histogram, from 0 to 1
BAR = 40  # characters of its longest bar
RULE = (
    f"a label is a true positive if its IoU with a true object of its class is {TRUE_POSITIVE_IOU} "
    "or more; by falling score, each takes the free object that it overlaps most"
)


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
        if self.quality is not None:
            hit = self._measure(labels, classes, scores, truth)
            np.add.at(self._by_score[:, 1], bins[hit], 1)

    def _measure(
        self,
        labels: Sequence[Mapping],
        classes: np.ndarray,
        scores: np.ndarray,
        truth: Sequence[Mapping],
    ) -> np.ndarray:
        """(N,) bool: which labels are true positives."""
        true_classes = np.array([item["category_id"] for item in truth], dtype=np.int64)
        iou = np.zeros((len(labels), len(truth)))
        if iou.size:
            masks = [[item["segmentation"] for item in group] for group in (labels, truth)]
            iou = mask_api.iou(*masks, [0] * len(truth))
        match = match_labels(iou, scores, classes, true_classes)
        self.quality.add(iou, classes, true_classes, match)
        return match != UNMATCHED

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
        rows = []
        for class_id, name in enumerate(class_names):
            row = [name, self._images_with[class_id], self.labels[class_id]]
            if self.quality is not None:
                of = self.quality.figures(class_id)
                shares = (of.precision, of.recall, of.mean_iou)
                row += [of.objects, of.true_positives, *map(_percent, shares)]
            if any(row[2:4]):
                rows.append(row)
        headers = ["class", "images", "labels"]
        if self.quality is not None:
            headers += ["objects", "true pos.", "precision", "recall", "IoU"]
        aligned = ["left"] + ["right"] * (len(headers) - 1)
        return tabulate(rows, headers=headers, colalign=aligned if rows else None)


def _percent(share: float) -> str:
    """A dash where there was nothing to divide by."""
    return "-" if math.isnan(share) else f"{PERCENT * share:.1f} %"
