"""What each kind of model is evaluated by, and what its test sets must have for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from bestie_d2.data import load_tagged_records
from bestie_d2.evaluation.coco_instance import COCOInstanceEvaluator
from bestie_d2.evaluation.failures import FailureEvaluator
from bestie_d2.evaluation.semantic_iou import SemanticIoUEvaluator, SemanticTruth
from bestie_d2.evaluation.tag_scores import ImageTagEvaluator
from bestie_d2.evaluation.truth import load_truth
from bestie_d2.evaluation.voc_instance import VOCInstanceEvaluator
from bestie_d2.model_keys import num_classes


class Task(NamedTuple):
    """How models of a kind are evaluated: evaluators by configuration, data set's name and output
    folder; and what they need of the set, an ``InputError`` if it is not there."""

    build_evaluators: Callable[[CfgNode, str, str], list[DatasetEvaluator]]
    read_truth: Callable[[CfgNode, str], object]


def _instance_evaluators(cfg: CfgNode, name: str, folder: str) -> list[DatasetEvaluator]:
    truth, most = load_truth(name, crowds=True), cfg.TEST.MAX_DETECTIONS_PER_IMAGE
    coco = COCOInstanceEvaluator(name, truth=truth, output_dir=folder, max_dets_per_image=most)
    failures = FailureEvaluator(name, folder, truth=truth)
    return [coco, VOCInstanceEvaluator(name, truth=truth), failures]


INSTANCES = Task(_instance_evaluators, lambda cfg, name: load_truth(name))
TASKS = {  # by meta-architecture; the others find instances
    "PAMClassifier": Task(
        lambda cfg, name, folder: [ImageTagEvaluator(name)],
        lambda cfg, name: load_tagged_records(name, num_classes(cfg)),
    ),
    "SingleStageWSSS": Task(
        lambda cfg, name, folder: [SemanticIoUEvaluator(name)],
        lambda cfg, name: SemanticTruth(name),
    ),
}


def task_of(cfg: CfgNode) -> Task:
    """The task of the model that a configuration describes."""
    return TASKS.get(cfg.MODEL.META_ARCHITECTURE, INSTANCES)
