"""Measuring and nothing else: AP of instances and tags, IoU of maps, quality of labels."""

from bestie_d2.evaluation.semantic_iou import (
    SemanticIoUEvaluator,
    SemanticTruth,
    has_semantic_truth,
)
from bestie_d2.evaluation.tag_scores import ImageTagEvaluator, image_tag_scores
from bestie_d2.evaluation.truth import ObjectsByImage, encode_masks, has_truth, load_truth
from bestie_d2.evaluation.voc_instance import VOCInstanceEvaluator, voc_instance_ap
from bestie_d2.evaluation.weak_components import (
    evaluate_weak_components,
    has_weak_maps,
    weak_component_instances,
)

__all__ = [
    "ImageTagEvaluator",
    "ObjectsByImage",
    "SemanticIoUEvaluator",
    "SemanticTruth",
    "VOCInstanceEvaluator",
    "encode_masks",
    "evaluate_weak_components",
    "has_semantic_truth",
    "has_truth",
    "has_weak_maps",
    "image_tag_scores",
    "load_truth",
    "voc_instance_ap",
    "weak_component_instances",
]
