"""VOC instance AP, the paper's protocol.

A prediction, taken by falling score, looks only at the true object of its class and image that it
overlaps most: a hit if their IoU reaches the threshold and nothing has hit that object yet, else a
false positive. Void pixels are background, every object counts, predictions have no cap. AP is the
exact area under the monotone precision-recall curve, mAP its mean over the classes with objects.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from pycocotools import mask as mask_api

from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import PERCENT, GatheringEvaluator
from bestie_d2.evaluation.truth import ObjectsByImage, load_truth, predicted_objects, without_crowds

IOU_THRESHOLDS = (0.25, 0.5, 0.7, 0.75)  # the paper's
PER_CLASS_THRESHOLD = 0.5  # of the single classes' AP


def average_precision(hits: np.ndarray, num_objects: int) -> float:
    """Exact area under the monotone precision-recall curve, in [0, 1], of (N,) bool ``hits`` of all
    predictions of a class, by falling score; it has at least one object."""
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_objects)  # each hit raises recall by 1 / num_objects


def voc_instance_ap(
    predictions: ObjectsByImage,
    ground_truth: ObjectsByImage,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    class_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Mean average precision of instance masks over the classes that have objects.

    Args:
        predictions: image id -> list of ``{"category_id": 0..C-1, "segmentation": compressed RLE,
            "score": float}``. Images without truth hold false positives only.
        ground_truth: image id -> list of ``{"category_id", "segmentation"}``.
        iou_thresholds: smallest IoU of a hit.
        class_names: of the class ids in order, to list the classes one by one.

    Returns:
        In percent, ``"mAP25"`` and so on for each threshold and, with names, ``"AP50-<name>"`` for
        each class. NaN where there is no object.

    Raises:
        InputError: masks of an image are of different sizes; the line names the image.
    """
    thresholds = (*iou_thresholds, PER_CLASS_THRESHOLD)
    found = _by_class(predictions)
    by_class = {
        class_id: PERCENT * _class_ap(found.get(class_id, {}), objects, thresholds)
        for class_id, objects in sorted(_by_class(ground_truth).items())
    }
    nothing = np.full(len(thresholds), np.nan)
    means = np.mean(list(by_class.values()) or [nothing], axis=0)[:-1].tolist()
    result = {
        f"mAP{round(threshold * PERCENT)}": mean
        for threshold, mean in zip(iou_thresholds, means, strict=True)
    }
    for class_id, name in enumerate(class_names or ()):
        key = f"AP{round(PER_CLASS_THRESHOLD * PERCENT)}-{name}"
        result[key] = float(by_class.get(class_id, nothing)[-1])
    return result


def _by_class(objects: ObjectsByImage) -> dict[int, ObjectsByImage]:
    """Class id -> image id -> objects."""
    result: dict[int, ObjectsByImage] = {}
    for image_id, items in objects.items():
        for item in items:
            result.setdefault(item["category_id"], {}).setdefault(image_id, []).append(item)
    return result


def _class_ap(
    predictions: ObjectsByImage, objects: ObjectsByImage, thresholds: Sequence[float]
) -> np.ndarray:
    """(T,) AP of one class, in [0, 1]."""
    all_scores, all_hits = [np.zeros(0)], [np.zeros((len(thresholds), 0), dtype=bool)]
    for image_id, items in predictions.items():
        scores, hits = _match_image(image_id, items, objects.get(image_id, []), thresholds)
        all_scores.append(scores)
        all_hits.append(hits)
    order = np.argsort(-np.concatenate(all_scores), kind="stable")
    num_objects = sum(map(len, objects.values()))
    rows = np.concatenate(all_hits, axis=1)[:, order]
    return np.array([average_precision(row, num_objects) for row in rows])


def _match_image(
    image_id: Hashable, predictions: list[dict], objects: list[dict], thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) of one class's predictions in an image, falling, those of equal score in their
    given order; and whether they are hits: (T, N) bool."""
    scores = np.array([prediction["score"] for prediction in predictions], dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    hits = np.zeros((len(thresholds), len(predictions)), dtype=bool)
    if not predictions or not objects:
        return scores[order], hits
    found = [predictions[index]["segmentation"] for index in order]
    true = [item["segmentation"] for item in objects]
    iou = mask_api.iou(found, true, [0] * len(true))
    if (iou < 0).any():  # how pycocotools says that two masks differ in size
        (height, width), (true_height, true_width) = found[0]["size"], true[0]["size"]
        raise InputError(
            f"image {image_id}: predicted masks of {height}x{width} pixels (height x width), true "
            f"ones of {true_height}x{true_width}; give predictions at the image's original size"
        )
    best, overlap = iou.argmax(axis=1), iou.max(axis=1)
    for row, threshold in zip(hits, thresholds, strict=True):
        reached = np.flatnonzero(overlap >= threshold)
        _, first = np.unique(best[reached], return_index=True)  # the first to reach each object
        row[reached[first]] = True
    return scores[order], hits


class VOCInstanceEvaluator(GatheringEvaluator):
    """Detectron2 evaluator: ``{"voc_instance": {"mAP25": ..., "AP50-<class>": ...}}``."""

    task, title = "voc_instance", "VOC instance AP"

    def __init__(
        self,
        dataset_name: str,
        *,
        iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
        distributed: bool = True,
        truth: ObjectsByImage | None = None,
    ) -> None:
        """``truth`` is what :func:`load_truth` reads, with crowds, if that was done already."""
        if truth is None:
            truth = load_truth(dataset_name, crowds=True)
        self._truth = without_crowds(dataset_name, truth)
        self._iou_thresholds = iou_thresholds
        super().__init__(dataset_name, distributed=distributed)

    def keep(self, item: dict, output: dict) -> list[dict]:
        """The masks, classes and scores of ``output["instances"]``, as RLE."""
        found = output["instances"]
        columns = (found.pred_classes.tolist(), found.scores.tolist())
        return predicted_objects(found.pred_masks, *columns)

    def figures(self, kept: dict[Hashable, list[dict]]) -> dict[str, float]:
        """AP of the predictions in the order of the data set, whoever made them."""
        known = [image_id for image_id in self._truth if image_id in kept]
        predictions = {image_id: kept[image_id] for image_id in [*known, *kept]}
        return voc_instance_ap(predictions, self._truth, self._iou_thresholds, self._class_names)

    def seen(self, kept: dict[Hashable, list[dict]]) -> str:
        return f"{len(self._truth)} images, {sum(map(len, kept.values()))} predictions"
