"""The training objective: losses under instance-aware guidance, with online self-refinement.

Paper: Section 3.4, 3.5, Eq. 2 to 6, Listing 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from bestie_d2.errors import check_choice
from bestie_d2.labeling.grouping import CenterClustering
from bestie_d2.labeling.refinement import refine_labels, refine_labels_from_points
from bestie_d2.modeling.heads import InstanceMaps
from bestie_d2.modeling.losses import guided_errors, top_k_cross_entropy
from bestie_d2.structures import Components, InstanceTargets, PointCues

SUPERVISIONS = ("tags", "points")
FOREGROUNDS = ("weak", "predicted")
WEIGHTINGS = ("center_times_class", "center")


def clustering_from_config(cfg: CfgNode, enabled: bool) -> CenterClustering | bool:
    """``MODEL.BESTIE.CLUSTERING`` as the value that grouping takes."""
    node = cfg.MODEL.BESTIE.CLUSTERING
    keys = ("MAGNITUDE", "AREA", "AREA_TOLERANCE", "MIN_CENTER", "MIN_DISTANCE")
    return enabled and CenterClustering(**{key.lower(): node[key] for key in keys})


@dataclass
class WeakLabels:
    """What a batch is taught with.

    Attributes:
        sem_seg: (B, H, W) uint8 WSSS indices, on the model's device.
        components: of the weak map of each image, found where it was loaded.
        image_classes: (B, C) bool tags, in host memory.
        pseudo: targets from semantic knowledge transfer.
        cues: the points of each image, in pixels of the crop.
    """

    sem_seg: Tensor
    components: list[Components]
    image_classes: Tensor
    pseudo: InstanceTargets
    cues: list[PointCues]


class SelfRefinement:
    """Turns a batch's own predictions into refined targets (paper: Section 3.5)."""

    @configurable
    def __init__(self, *, supervision: str, foreground: str, grouping: dict[str, Any]) -> None:
        """
        Args:
            supervision: "tags" or "points".
            foreground: components of the "weak" or of the "predicted" semantic map are grouped.
            grouping: keyword arguments of ``labeling.refinement.refine_labels``.
        """
        self.supervision = supervision
        self.foreground = foreground
        self.grouping = grouping

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node, key = cfg.MODEL.BESTIE, "MODEL.BESTIE.REFINEMENT"
        refinement = node.REFINEMENT
        check_choice(f"{key}.FOREGROUND", refinement.FOREGROUND, FOREGROUNDS)
        check_choice(f"{key}.WEIGHTING", refinement.WEIGHTING, WEIGHTINGS)
        return {
            "supervision": node.SUPERVISION,
            "foreground": refinement.FOREGROUND,
            "grouping": {
                "center_threshold": refinement.CENTER_THRESHOLD,
                "kernel": refinement.KERNEL,
                "clustering": clustering_from_config(cfg, node.CLUSTERING.ENABLED),
                "sigma": node.SIGMA,
                "sigma_by_size": node.SIGMA_BY_SIZE,
                "min_area": node.MIN_AREA,
                "max_instances": refinement.MAX_INSTANCES,
                "weighting": refinement.WEIGHTING,
            },
        }

    def __call__(self, maps: InstanceMaps, labels: WeakLabels) -> InstanceTargets:
        """Refined targets; with points, their center map is the given points' (Section 4.3)."""
        weak = self.foreground == "weak"
        foreground = labels.sem_seg if weak else maps.sem_seg.argmax(dim=1)
        components = labels.components if weak else None
        where = (foreground, labels.image_classes)
        if self.supervision == "points":
            refined = refine_labels_from_points(
                maps.offset, foreground, labels.cues, labels.image_classes, components=components
            )
            return InstanceTargets(labels.pseudo.center, refined.offset, refined.weight)
        predicted = (maps.sem_seg, maps.center, maps.offset)
        return refine_labels(*predicted, *where, components=components, **self.grouping)


class BestieCriterion(nn.Module):
    """Semantic, center and offset losses (paper: Eq. 6)."""

    @configurable
    def __init__(
        self,
        *,
        sem_seg_weight: float,
        center_weight: float,
        offset_weight: float,
        sem_seg_top_k: float,
        pseudo_share: float,
        refined_share: float,
        guidance: bool,
        refinement: SelfRefinement | None,
        refinement_start: int,
    ) -> None:
        """
        Args:
            sem_seg_weight, center_weight, offset_weight: the lambdas.
            sem_seg_top_k: share of the hardest pixels in the semantic loss.
            pseudo_share, refined_share: of the two parts of the center and offset losses.
            guidance: instance-aware guidance; off, every pixel counts and unlabeled ones are
                taught center 0 and offset 0 (Table 3, second row).
            refinement: makes refined targets; None trains on pseudo targets alone.
            refinement_start: the first iteration that refines.
        """
        super().__init__()
        self.sem_seg_weight = sem_seg_weight
        self.center_weight = center_weight
        self.offset_weight = offset_weight
        self.sem_seg_top_k = sem_seg_top_k
        self.pseudo_share = pseudo_share
        self.refined_share = refined_share
        self.guidance = guidance
        self.refinement = refinement
        self.refinement_start = refinement_start

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node = cfg.MODEL.BESTIE
        return {
            **{key.lower(): value for key, value in node.LOSS.items()},
            "guidance": node.IAG,
            "refinement": SelfRefinement(cfg) if node.REFINEMENT.ENABLED else None,
            "refinement_start": node.REFINEMENT.START_ITER,
        }

    def forward(self, maps: InstanceMaps, labels: WeakLabels) -> dict[str, Tensor]:
        """Losses by name, weighted; the same names at every iteration.

        Args:
            maps: predictions at the size of the labels.
        """
        sem_seg = top_k_cross_entropy(maps.sem_seg, labels.sem_seg, self.sem_seg_top_k, shared=True)
        losses = {"loss_sem_seg": self.sem_seg_weight * sem_seg}
        guides = {"pseudo": (labels.pseudo, 1.0)}
        if self.refinement is not None and get_event_storage().iter < self.refinement_start:
            waiting = (maps.center.sum() + maps.offset.sum()) * 0
            losses |= {"loss_center_refined": waiting, "loss_offset_refined": waiting}
        elif self.refinement is not None:
            guides = {
                "pseudo": (labels.pseudo, self.pseudo_share),
                "refined": (self.refinement(maps, labels), self.refined_share),
            }
        return losses | self._guided(maps, guides)

    def _guided(
        self, maps: InstanceMaps, guides: Mapping[str, tuple[InstanceTargets, float]]
    ) -> dict[str, Tensor]:
        """Center and offset loss against each kind of targets, which has a share in them."""
        kinds = [targets for targets, _ in guides.values()]
        weights = [self._weight(targets) for targets in kinds]
        # All have one, which a type checker cannot know: SelfRefinement leaves no None.
        centers = [targets.center for targets in kinds if targets.center is not None]
        guides_of_centers = [*zip(centers, weights, strict=True)]
        squared = guided_errors(maps.center, guides_of_centers, squared=True, shared=True)
        offsets = [(targets.offset, weight) for targets, weight in zip(kinds, weights, strict=True)]
        absolute = guided_errors(maps.offset, offsets, squared=False, shared=True)
        losses = {}
        for number, (name, (_, share)) in enumerate(guides.items()):
            losses[f"loss_center_{name}"] = self.center_weight * share * squared[number]
            losses[f"loss_offset_{name}"] = self.offset_weight * share * absolute[number]
        return losses

    def _weight(self, targets: InstanceTargets) -> Tensor:
        """(B, H, W), how much each pixel counts."""
        if self.guidance:
            return targets.weight
        return torch.where(targets.weight > 0, targets.weight, 1.0)
