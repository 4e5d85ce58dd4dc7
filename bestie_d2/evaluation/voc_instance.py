"""VOC instance AP, the paper's protocol.

A prediction, taken by falling score, looks only at the true object of its class and image that it
overlaps most: a hit if their IoU reaches the threshold and nothing has hit that object yet, else a
false positive. Void pixels are background, every object counts, predictions have no cap. AP is the
exact area under the monotone precision-recall curve, mAP its mean over the classes with objects.
"""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table
from pycocotools import mask as mask_api

from bestie_d2.errors import InputError
from bestie_d2.evaluation.truth import ObjectsByImage, encode_masks, load_truth, without_crowds

IOU_THRESHOLDS = (0.25, 0.5, 0.7, 0.75)  # the paper's
PER_CLASS_THRESHOLD = 0.5  # of the single classes' AP
PERCENT = 100.0

logger = logging.getLogger(__name__)


def average_precision(hits: np.ndarray, num_objects: int) -> float:
    """Exact area under the monotone precision-recall curve, in [0, 1].

    Args:
        hits: (N,) bool of all predictions of a class, by falling score.
        num_objects: true objects of the class, at least 1.
    """
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_objects)  # each hit raises recall by 1 / num_objects


def match_image(
    predictions: list[dict], objects: list[dict], iou_thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Which predictions of one class in one image are hits.

    Args:
        predictions: RLE ``segmentation`` and ``score`` of each.
        objects: RLE ``segmentation`` of each true object.

    Returns:
        scores (N,) falling, predictions of equal score in their given order; hits (T, N) bool.

    Raises:
        InputError: the masks are of different sizes.
    """
    scores = np.array([prediction["score"] for prediction in predictions], dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    hits = np.zeros((len(iou_thresholds), len(predictions)), dtype=bool)
    if not predictions or not objects:
        return scores[order], hits
    iou = mask_api.iou(
        [predictions[index]["segmentation"] for index in order],
        [item["segmentation"] for item in objects],
        [0] * len(objects),
    )
    if (iou < 0).any():  # how pycocotools says that two masks differ in size
        sizes = [group[0]["segmentation"]["size"] for group in (predictions, objects)]
        raise InputError(
            f"predicted masks of {sizes[0][0]}x{sizes[0][1]} pixels (height x width), true ones of "
            f"{sizes[1][0]}x{sizes[1][1]}; give predictions at the image's original size"
        )
    best = iou.argmax(axis=1)
    overlap = iou.max(axis=1)
    for row, threshold in zip(hits, iou_thresholds, strict=True):
        reached = np.flatnonzero(overlap >= threshold)
        _, first = np.unique(best[reached], return_index=True)  # the first to reach each object
        row[reached[first]] = True
    return scores[order], hits


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
    truth_by_class = _by_class(ground_truth)
    predicted_by_class = _by_class(predictions)
    thresholds = (*iou_thresholds, PER_CLASS_THRESHOLD)
    by_class = {
        class_id: _class_ap(predicted_by_class.get(class_id, {}), objects, thresholds)
        for class_id, objects in sorted(truth_by_class.items())
    }
    table = np.array(list(by_class.values()) or [[np.nan] * len(thresholds)]) * PERCENT
    mean = table.mean(axis=0)
    result = {
        f"mAP{round(threshold * PERCENT)}": float(value)
        for threshold, value in zip(iou_thresholds, mean[:-1], strict=True)
    }
    for class_id, name in enumerate(class_names or ()):
        value = by_class[class_id][-1] * PERCENT if class_id in by_class else float("nan")
        result[f"AP{round(PER_CLASS_THRESHOLD * PERCENT)}-{name}"] = value
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
) -> list[float]:
    """AP of one class, in [0, 1], at each threshold."""
    all_scores, all_hits = [np.zeros(0)], [np.zeros((len(thresholds), 0), dtype=bool)]
    for image_id, items in predictions.items():
        try:
            scores, hits = match_image(items, objects.get(image_id, []), thresholds)
        except InputError as error:
            raise InputError(f"image {image_id}: {error}") from None
        all_scores.append(scores)
        all_hits.append(hits)
    order = np.argsort(-np.concatenate(all_scores), kind="stable")
    num_objects = sum(map(len, objects.values()))
    hits = np.concatenate(all_hits, axis=1)[:, order]
    return [average_precision(row, num_objects) for row in hits]


class VOCInstanceEvaluator(DatasetEvaluator):
    """Detectron2 evaluator: ``{"voc_instance": {"mAP25": ..., "AP50-<class>": ...}}``."""

    def __init__(
        self,
        dataset_name: str,
        *,
        iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
        distributed: bool = True,
        truth: ObjectsByImage | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a registered data set that comes with true masks.
            iou_thresholds: smallest IoU of a hit.
            distributed: gather the predictions of all processes; else this one's are all.
            truth: what ``load_truth`` reads, with crowds, if that was done already.

        Raises:
            InputError: the data set is not registered, or comes without any truth.
        """
        self._dataset_name = dataset_name
        self._iou_thresholds = iou_thresholds
        self._distributed = distributed
        if truth is None:
            truth = load_truth(dataset_name, crowds=True)
        self._truth = without_crowds(dataset_name, truth)
        self._class_names = MetadataCatalog.get(dataset_name).get("thing_classes")
        self._predictions: ObjectsByImage = {}

    def reset(self) -> None:
        self._predictions = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the masks, classes and scores of ``outputs["instances"]``, on the host, as RLE."""
        for item, output in zip(inputs, outputs, strict=True):
            instances = output["instances"]
            columns = (
                instances.pred_classes.tolist(),
                encode_masks(instances.pred_masks),
                instances.scores.tolist(),
            )
            self._predictions[item["image_id"]] = [
                {"category_id": class_id, "segmentation": rle, "score": score}
                for class_id, rle, score in zip(*columns, strict=True)
            ]

    def evaluate(self) -> dict[str, dict[str, float]]:
        """The figures; in the main process alone when distributed."""
        predictions = self._gathered()
        if self._distributed and not comm.is_main_process():
            return {}
        result = voc_instance_ap(predictions, self._truth, self._iou_thresholds, self._class_names)
        means = {key: value for key, value in result.items() if "-" not in key}
        logger.info(
            "VOC instance AP of %s (%d images, %d predictions):\n%s",
            self._dataset_name, len(self._truth), sum(map(len, predictions.values())),
            create_small_table(means),
        )  # fmt: skip
        return OrderedDict(voc_instance=result)

    def _gathered(self) -> ObjectsByImage:
        """Predictions in the order of the data set, whoever made them."""
        parts = [self._predictions]
        if self._distributed:
            comm.synchronize()
            parts = comm.gather(self._predictions, dst=0)
        merged = dict(itertools.chain.from_iterable(part.items() for part in parts))
        known: list[Hashable] = [image_id for image_id in self._truth if image_id in merged]
        return {image_id: merged[image_id] for image_id in dict.fromkeys([*known, *merged])}
