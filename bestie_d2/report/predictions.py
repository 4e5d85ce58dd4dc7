"""What the trained models of a run make of a few images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from detectron2.config import CfgNode
from torch import nn

from bestie_d2.checks.configuration import check_trained_classes
from bestie_d2.data import EvaluationMapper, WeakInstanceMapper
from bestie_d2.engine.label_progress import PSEUDO, REFINED, taught_targets
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.evaluation.label_quality import instances_of_targets
from bestie_d2.pictures.dataset import predicted_masks
from bestie_d2.pictures.drawing import MaskSet
from bestie_d2.report.run_files import StageFiles

TITLES = {PSEUDO: "pseudo labels", REFINED: "refined labels"}


def predictions_of(stage: StageFiles, records: Sequence[dict]) -> dict[Hashable, MaskSet]:
    """What the model of a finished training finds, by image id."""
    cfg = stage.load()
    model, mapper = _trained(cfg), EvaluationMapper(cfg, is_train=False)
    return {record["image_id"]: predicted_masks(model, mapper(record)) for record in records}


@torch.no_grad()
def taught_labels_of(
    stage: StageFiles, train_set: str, records: Sequence[dict]
) -> dict[Hashable, dict[str, MaskSet]]:
    """The labels that a finished BESTIE training learned from, at the images' own size.

    Returns:
        By image id, and then by name: the pseudo labels and, if the training refines any, the
        refined labels as the trained model has them.
    """
    cfg = stage.load()
    check_trained_classes(cfg, train_set)
    model = _trained(cfg)
    mapper = WeakInstanceMapper(**{**WeakInstanceMapper.from_config(cfg), "augmentations": []})
    wanted = {record["image_id"] for record in records}
    found = {}
    for record in WeakInstanceMapper.load_records(cfg, train_set):
        if record["image_id"] not in wanted:
            continue
        item = mapper(record)
        found[record["image_id"]] = {
            TITLES[kind]: MaskSet(*instances_of_targets(targets, item["sem_seg"]))
            for kind, targets in taught_targets(model, item).items()
        }
    return found


def _trained(cfg: CfgNode) -> nn.Module:
    return load_trained_model(cfg)[0].eval()
