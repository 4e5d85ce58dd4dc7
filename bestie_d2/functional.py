"""The method's functions and their two structures, importable from one place."""

from bestie_d2.evaluation.voc_instance import voc_instance_ap
from bestie_d2.labeling.decode import group_instances
from bestie_d2.labeling.refinement import refine_labels, refine_labels_from_points
from bestie_d2.labeling.transfer import transfer_semantic_knowledge
from bestie_d2.modeling.losses import top_k_cross_entropy, weighted_l1, weighted_mse
from bestie_d2.ops.heatmap import find_peaks
from bestie_d2.structures import InstanceTargets, PointCues
from bestie_d2.weights.checkpoint import load_released_bestie, load_released_pam

__all__ = [
    "InstanceTargets",
    "PointCues",
    "find_peaks",
    "group_instances",
    "load_released_bestie",
    "load_released_pam",
    "refine_labels",
    "refine_labels_from_points",
    "top_k_cross_entropy",
    "transfer_semantic_knowledge",
    "voc_instance_ap",
    "weighted_l1",
    "weighted_mse",
]
