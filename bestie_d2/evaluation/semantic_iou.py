"""Mean IoU of semantic maps: how good a weak map is, pixel by pixel.

Legend: ``C`` classes, ``H, W`` an image. Index maps hold WSSS indices.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from pycocotools import mask as mask_api

from bestie_d2.data.datasets.object_masks import to_rle
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.kept_classes import KEPT
from bestie_d2.evaluation.base import PERCENT, GatheringEvaluator
from bestie_d2.evaluation.truth import has_truth, load_truth
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, wsss_index

BACKGROUND_NAME = "background"
TRUTH_FILE = "semantic_truth_file_name"  # a record's index PNG, which goes before its masks


def semantic_truth(record: dict, annotations: Sequence[dict]) -> np.ndarray:
    """The true class of each pixel of an image, from the masks of its objects in Detectron2's
    format: (H, W) uint8 WSSS indices; 255 on crowd regions that no object covers. Where objects
    overlap, the later one counts."""
    height, width = record["height"], record["width"]
    truth = np.full((height, width), BACKGROUND_INDEX, np.uint8)
    crowds_first = sorted(annotations, key=lambda entry: not entry.get("iscrowd", 0))
    for entry in crowds_first:
        mask = mask_api.decode(to_rle(entry["segmentation"], height, width)).astype(bool)
        crowd = entry.get("iscrowd", 0)
        truth[mask] = IGNORE_INDEX if crowd else wsss_index(entry["category_id"])
    return truth


def confusion(prediction: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels by true and predicted index, (C+1, C+2) int64; those of several images add up.

    Args:
        prediction, truth: (H, W) uint8 WSSS indices. Pixels that are 255 in the truth are left
            out; those that are 255 in the prediction alone are in the last column, as nothing.
    """
    nothing = num_classes + 1
    known = truth != IGNORE_INDEX
    rows = truth[known].astype(np.int64)
    columns = prediction[known].astype(np.int64)
    columns[columns == IGNORE_INDEX] = nothing
    counts = np.bincount(rows * (nothing + 1) + columns, minlength=nothing * (nothing + 1))
    return counts.reshape(nothing, nothing + 1)


def class_ious(counts: np.ndarray) -> np.ndarray:
    """(C+1, C+2) confusion -> (C+1,) IoU in [0, 1]; NaN of what is in no truth or prediction."""
    intersection = np.diagonal(counts).astype(np.float64)
    union = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - intersection
    return np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def mean_iou(counts: np.ndarray) -> float:
    """(C+1, C+2) confusion -> mean IoU in [0, 1] over background and classes that occur."""
    ious = class_ious(counts)
    return float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")


def semantic_iou(counts: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """The figures of a (C+1, C+2) confusion, in percent: ``mIoU``; ``precision`` and ``recall`` of
    the foreground's pixels, whose low values speak of maps that are too large and too small;
    ``IoU-<name>`` of the background and each class."""
    hits = np.diagonal(counts)[1:].sum()
    ious = zip((BACKGROUND_NAME, *class_names), class_ious(counts), strict=True)
    return {
        "mIoU": PERCENT * mean_iou(counts),
        "precision": PERCENT * hits / max(counts[:, 1:-1].sum(), 1),
        "recall": PERCENT * hits / max(counts[1:].sum(), 1),
        **{f"IoU-{name}": PERCENT * value for name, value in ious},
    }


def has_semantic_truth(dataset_name: str) -> bool:
    """Whether a registered data set comes with the true class of each pixel."""
    records = DatasetCatalog.get(dataset_name)
    return any(TRUTH_FILE in record for record in records) or has_truth(dataset_name)


class SemanticTruth:
    """The true semantic maps of a registered data set, one at a time.

    It has true masks, or its records all name index PNGs of the truth, which go before the masks;
    one without any truth is refused.
    """

    def __init__(self, dataset_name: str) -> None:
        records = DatasetCatalog.get(dataset_name) if dataset_name in DatasetCatalog else []
        self._records = {record["image_id"]: record for record in records}
        in_files = self._records and all(TRUTH_FILE in r for r in self._records.values())
        self._objects = {} if in_files else load_truth(dataset_name, crowds=True)
        metadata = MetadataCatalog.get(dataset_name)
        self._num_classes, self._kept = len(metadata.thing_classes), metadata.get(KEPT)

    def __len__(self) -> int:
        return len(self._records)

    def of(self, image_id: Hashable) -> np.ndarray:
        """(H, W) uint8 WSSS indices of an image."""
        record = self._records[image_id]
        if TRUTH_FILE in record:
            size = (record["height"], record["width"])
            path = record[TRUTH_FILE]
            return read_weak_sem_seg(path, self._num_classes, size, kept=self._kept)
        return semantic_truth(record, self._objects[image_id])


class SemanticIoUEvaluator(GatheringEvaluator):
    """Detectron2 evaluator: ``{"sem_seg": {"mIoU": ..., "IoU-<class>": ...}}``, of a data set as
    :class:`SemanticTruth` takes it."""

    task, title = "sem_seg", "semantic IoU"

    def __init__(self, dataset_name: str, *, distributed: bool = True) -> None:
        self._truth = SemanticTruth(dataset_name)
        super().__init__(dataset_name, distributed=distributed)

    def keep(self, item: dict, output: dict) -> np.ndarray:
        """The confusion of ``output["sem_seg"]`` (C+1, H, W), channel 0 the background."""
        prediction = output["sem_seg"].argmax(dim=0).cpu().numpy().astype(np.uint8)
        return confusion(prediction, self._truth.of(item["image_id"]), len(self._class_names))

    def figures(self, kept: dict[Hashable, np.ndarray]) -> dict[str, float]:
        """The figures of all images taken together."""
        num_labels = len(self._class_names) + 1
        nothing = np.zeros((num_labels, num_labels + 1), np.int64)
        return semantic_iou(sum(kept.values(), start=nothing), self._class_names)
