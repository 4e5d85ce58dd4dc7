"""What became of every true object and of every found instance, each in exactly one kind.

Legend: ``N`` found instances or cues of an image, ``M`` true objects without crowds; both are
given as ``{"category_id": 0..C-1, "segmentation": RLE}``, what is found with its ``score``. An
instance *covers* an object if it has half of its pixels; it *touches* one if it covers it, if half
of its own pixels lie on it, or if their IoU is 0.1 or more (TIDE's bound of the background, Bolya
et al. 2020). The first kind that fits counts:

| kind | a found instance | a true object |
|---|---|---|
| right | finds a free object, as :func:`match_labels` says | is found |
| repeated | IoU of 0.5 or more with an object that another found | (of cues alone) |
| wrong class | touches other classes, and lies on them more than on its own | |
| merged | covers several objects of its class | an instance covers it, and others |
| leaked | covers one, and reaches so far that IoU is below 0.5 | an instance covers it alone |
| fragment | touches objects of its class, covers none | an instance touches it |
| wrong class | | another class's instance touches it |
| false alarm, missed | the rest | the rest |
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from bestie_d2.evaluation.voc_instance import VOCInstanceEvaluator
from bestie_d2.storage.files import write_json
from bestie_d2.structures import PointCues

TRUE_POSITIVE_IOU = 0.5  # smallest IoU of a true positive; paper: Figure 6
HALF, TOUCH = 0.5, 0.1  # of an object's or instance's pixels; smallest IoU that counts as a touch
UNMATCHED = -1
RIGHT, REPEATED, MERGED, LEAKED = "right", "repeated", "merged", "leaked"
FRAGMENT, WRONG, MISSED, ALARM = "fragment", "wrong class", "missed", "false alarm"
KINDS = (RIGHT, REPEATED, MERGED, LEAKED, FRAGMENT, WRONG, MISSED, ALARM)
OBJECTS, INSTANCES = "objects", "instances"
FILE = "failures.json"

logger = logging.getLogger(__name__)


class Kinds(NamedTuple):
    """(N,) and (M,) str kinds of what was found in an image, and of its true objects."""

    instances: np.ndarray
    objects: np.ndarray

    def counts(self) -> Counter[str]:
        """How many of each, as ``objects-missed``; those of several images add up."""
        named = ((OBJECTS, self.objects), (INSTANCES, self.instances))
        return Counter(f"{what}-{kind}" for what, kinds in named for kind in kinds.tolist())


def all_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Those of every kind that there can be, in order, zeros too."""
    names = [f"{OBJECTS}-{kind}" for kind in KINDS if kind != ALARM]
    names += [f"{INSTANCES}-{kind}" for kind in KINDS if kind != MISSED]
    return {name: counts.get(name, 0) for name in names}


def describe_failures(counts: Mapping[str, int], name: str = INSTANCES) -> list[str]:
    """A line for the objects and one for what was found, by its ``name``; kinds that there are."""
    lines = []
    for what in (OBJECTS, INSTANCES):
        found = {kind: n for kind in KINDS if (n := counts.get(f"{what}-{kind}", 0))}
        parts = ", ".join(f"{n} {kind}" for kind, n in found.items())
        title = "true objects" if what == OBJECTS else name
        lines += [f"{sum(found.values())} {title}: {parts}"] if found else []
    return lines


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


def find_objects(
    found: Sequence[Mapping], truth: Sequence[Mapping]
) -> tuple[np.ndarray, np.ndarray]:
    """Of one image's N instances and M objects the (N, M) IoU, and (N,) which object each instance
    finds, or -1. Masks are of one size."""
    masks, true_masks = ([item["segmentation"] for item in group] for group in (found, truth))
    iou = _shares(masks, true_masks, crowd=0)
    classes, true_classes = _column(found, "category_id"), _column(truth, "category_id")
    return iou, match_labels(iou, _column(found, "score", np.float64), classes, true_classes)


def judge_instances(
    found: Sequence[Mapping], truth: Sequence[Mapping]
) -> tuple[Kinds, np.ndarray, np.ndarray]:
    """The kinds of one image's instances and objects, and what :func:`find_objects` says."""
    iou, match = find_objects(found, truth)
    masks, true_masks = ([item["segmentation"] for item in group] for group in (found, truth))
    of_instance, of_object = _shares(masks, true_masks), _shares(true_masks, masks).T
    classes, true_classes = _column(found, "category_id"), _column(truth, "category_id")
    same = classes[:, None] == true_classes
    covers = (of_object >= HALF) & same
    touches = (of_object >= HALF) | (of_instance >= HALF) | (iou >= TOUCH)
    own, others = touches & same, touches & ~same
    elsewhere = (of_instance * ~same).sum(axis=1) > (of_instance * same).sum(axis=1)
    several = covers.sum(axis=1) > 1
    instances = {
        RIGHT: match != UNMATCHED,
        REPEATED: ((iou >= TRUE_POSITIVE_IOU) & same).any(axis=1),
        WRONG: others.any(axis=1) & (elsewhere | ~own.any(axis=1)),
        MERGED: several,
        LEAKED: covers.any(axis=1),
        FRAGMENT: own.any(axis=1),
    }
    objects = {
        RIGHT: np.isin(np.arange(len(truth)), match),
        MERGED: covers[several].any(axis=0),
        LEAKED: covers.any(axis=0),
        FRAGMENT: own.any(axis=0),
        WRONG: others.any(axis=0),
    }
    return Kinds(_first(instances, ALARM), _first(objects, MISSED)), iou, match


def judge_cues(cues: PointCues, truth: Sequence[Mapping]) -> Kinds:
    """The kinds of one image's cues and objects. The surest cue on an object of its class is right,
    more are repeated, and so is their object; where objects overlap, a cue lies on the smallest. A
    cue on other classes alone is of the wrong class, and so is an object with only such cues."""
    classes, true_classes = cues.classes.numpy(), _column(truth, "category_id")
    on = np.zeros((len(cues), len(truth)), dtype=bool)
    if on.size:
        masks = mask_api.decode([item["segmentation"] for item in truth])
        on = masks[tuple(np.array(cues.pixels()).T)].astype(bool)
    same = classes[:, None] == true_classes
    areas = np.array([mask_api.area(item["segmentation"]) for item in truth], dtype=np.float64)
    held = np.zeros_like(on)
    if on.size:
        held[np.arange(len(cues)), np.where(on & same, areas, np.inf).argmin(axis=1)] = True
        held &= on & same
    order = np.argsort(-cues.scores.numpy(), kind="stable")
    first = np.zeros_like(held)
    first[order] = held[order] & (held[order].cumsum(axis=0) == 1)
    others = on & ~same
    instances = {RIGHT: first.any(axis=1), REPEATED: held.any(axis=1), WRONG: others.any(axis=1)}
    objects = {REPEATED: held.sum(axis=0) > 1, RIGHT: held.any(axis=0), WRONG: others.any(axis=0)}
    return Kinds(_first(instances, ALARM), _first(objects, MISSED))


def best_threshold(scores: np.ndarray, hits: np.ndarray, num_objects: int) -> float:
    """The lowest score of those instances, (N,) float with (N,) bool hits, that together have the
    largest F1; 0 without any. Of equally good ones the lowest."""
    order = np.argsort(scores, kind="stable")  # from the lowest on
    kept = np.arange(len(order), 0, -1)
    f1 = 2 * hits[order][::-1].cumsum()[::-1] / (kept + num_objects)
    _, starts = np.unique(scores[order], return_index=True)  # equal scores go together
    return float(scores[order][starts[f1[starts].argmax()]]) if len(order) else 0.0


def _column(items: Sequence[Mapping], key: str, dtype: type = np.int64) -> np.ndarray:
    return np.array([item[key] for item in items], dtype=dtype)


def _shares(masks: Sequence[Mapping], others: Sequence[Mapping], crowd: int = 1) -> np.ndarray:
    """(len(masks), len(others)) share of each mask that lies on each other; with ``crowd`` 0 their
    IoU."""
    shape = (len(masks), len(others))
    return mask_api.iou(masks, others, [crowd] * len(others)) if all(shape) else np.zeros(shape)


def _first(holds: Mapping[str, np.ndarray], rest: str) -> np.ndarray:
    """Of each thing the first kind that holds."""
    kinds = np.full(len(next(iter(holds.values()))), rest, dtype=object)
    for kind in reversed([*holds]):
        kinds[holds[kind]] = kind
    return kinds


class FailureEvaluator(VOCInstanceEvaluator):
    """Detectron2 evaluator: ``{"failures": {"score": ..., "objects-missed": ..., ...}}``, of the
    predictions that score so much that F1, at IoU 0.5, is largest; a model's other ones it would be
    unfair to call false alarms. Images of which something failed go, the worst first, to
    ``failures.json`` in ``folder``, as ``{"score", "images": [{"image_id", <kind>: count}]}``."""

    task, title = "failures", "failures by kind"

    def __init__(self, dataset_name: str, folder: str, **others: Any) -> None:
        """Others as ``VOCInstanceEvaluator`` takes them."""
        super().__init__(dataset_name, **others)
        self._folder = Path(folder)

    def figures(self, kept: dict) -> dict[str, float]:
        truth = {image_id: self._truth.get(image_id, []) for image_id in [*self._truth, *kept]}
        scores, hits = [np.zeros(0)], [np.zeros(0, dtype=bool)]
        for image_id, found in kept.items():
            _, match = find_objects(found, truth[image_id])
            scores.append(_column(found, "score", np.float64))
            hits.append(match != UNMATCHED)
        num_objects = sum(map(len, truth.values()))
        score = best_threshold(np.concatenate(scores), np.concatenate(hits), num_objects)
        total, images = Counter[str](), []
        for image_id, objects in truth.items():
            found = [item for item in kept.get(image_id, []) if item["score"] >= score]
            counts = judge_instances(found, objects)[0].counts()
            total.update(counts)
            failed = {name: n for name, n in counts.items() if not name.endswith(RIGHT)}
            images += [{"image_id": image_id, **failed}] if failed else []
        images.sort(key=lambda image: -sum(n for key, n in image.items() if key != "image_id"))
        logger.info("at score %.3f, %s", score, "; ".join(describe_failures(total)))
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / FILE, {"score": score, "images": images})
        return {"score": score, **all_counts(total)}
