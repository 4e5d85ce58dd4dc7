"""The mapper for evaluation, whatever the model."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import transforms as T

from bestie_d2.data.mappers.detection import DetectionMapper


class EvaluationMapper(DetectionMapper):
    """A record -> ``image`` as the network takes it, with the record's other entries."""

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = False) -> dict:
        arguments = super().from_config(cfg, is_train)
        side = cfg.INPUT.TEST_SIDE
        if side:
            arguments["augmentations"] = [T.Resize((side, side))]
        return arguments
