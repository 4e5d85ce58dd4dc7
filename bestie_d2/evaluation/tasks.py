"""What each kind of model is evaluated by, and what its test sets must have for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from bestie_d2.data import load_tagged_records
from bestie_d2.evaluation.coco_instance import COCOInstanceEvaluator
from bestie_d2.evaluation.image_tags import ImageTagEvaluator
from bestie_d2.evaluation.semantic_iou import SemanticIoUEvaluator, SemanticTruth
from bestie_d2.evaluation.truth import load_truth
from bestie_d2.evaluation.voc_instance import VOCInstanceEvaluator
from bestie_d2.model_keys import num_classes


@dataclass(frozen=True)
class Task:
    """How models of a kind are evaluated.

    Attributes:
        build_evaluators: configuration, data set's name, output folder -> evaluators.
        read_truth: configuration, data set's name -> what the evaluation needs of the set, read
            before anything is trained; raises an ``InputError`` if it is not there.
    """

    build_evaluators: Callable[[CfgNode, str, str], list[DatasetEvaluator]]
    read_truth: Callable[[CfgNode, str], object]


def _instance_evaluators(cfg: CfgNode, dataset_name: str, folder: str) -> list[DatasetEvaluator]:
    truth = load_truth(dataset_name, crowds=True)
    most = cfg.TEST.MAX_DETECTIONS_PER_IMAGE
    coco = COCOInstanceEvaluator(
        dataset_name, truth=truth, output_dir=folder, max_dets_per_image=most
    )
    return [coco, VOCInstanceEvaluator(dataset_name, truth=truth)]


INSTANCES = Task(_instance_evaluators, lambda cfg, dataset_name: load_truth(dataset_name))
IMAGE_TAGS = Task(
    lambda cfg, dataset_name, folder: [ImageTagEvaluator(dataset_name)],
    lambda cfg, dataset_name: load_tagged_records(dataset_name, num_classes(cfg)),
)
SEMANTIC_MAPS = Task(
    lambda cfg, dataset_name, folder: [SemanticIoUEvaluator(dataset_name)],
    lambda cfg, dataset_name: SemanticTruth(dataset_name),
)
TASKS = {
    "PAMClassifier": IMAGE_TAGS,
    "SingleStageWSSS": SEMANTIC_MAPS,
}  # by meta-architecture; the others find instances


def task_of(cfg: CfgNode) -> Task:
    """The task of the model that a configuration describes."""
    return TASKS.get(cfg.MODEL.META_ARCHITECTURE, INSTANCES)
