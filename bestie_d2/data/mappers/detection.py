"""Detectron2's mapper with this package's reader of images."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T

from bestie_d2.data.images import ImageReader


class DetectionMapper(DatasetMapper):
    """A record -> the input of one of Detectron2's own models, with all that its mapper takes."""

    needs: ClassVar[frozenset[str]] = frozenset({"masks"})

    @configurable
    def __init__(self, is_train: bool, *, reader: ImageReader, **arguments: object) -> None:
        """``is_train`` and ``arguments`` are those of Detectron2's ``DatasetMapper``."""
        super().__init__(is_train, **arguments)
        self.reader = reader

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        return {**super().from_config(cfg, is_train), "reader": ImageReader.from_config(cfg)}

    def __call__(self, dataset_dict: dict) -> dict:
        """The record's other entries, ``image`` (channels, h, w) uint8 and in training
        ``instances``."""
        record = copy.deepcopy(dataset_dict)
        image = self.reader.read_of(record)
        record.setdefault("height", image.shape[0])
        record.setdefault("width", image.shape[1])
        sem_seg = None
        if "sem_seg_file_name" in record:
            path = record.pop("sem_seg_file_name")
            sem_seg = detection_utils.read_image(path, "L").squeeze(2)
        augmented = T.AugInput(image, sem_seg=sem_seg)
        transforms = self.augmentations(augmented)
        size = augmented.image.shape[:2]
        pixels = np.ascontiguousarray(augmented.image.transpose(2, 0, 1))
        record["image"] = torch.as_tensor(pixels)
        if sem_seg is not None:
            record["sem_seg"] = torch.as_tensor(augmented.sem_seg.astype("long"))
        if self.proposal_topk is not None:
            detection_utils.transform_proposals(
                record, size, transforms, proposal_topk=self.proposal_topk
            )
        if not self.is_train:
            record.pop("annotations", None)
        elif "annotations" in record:
            self._transform_annotations(record, transforms, size)
        return record


class EvaluationMapper(DetectionMapper):
    """A record -> ``image`` as the network takes it, with the record's other entries."""

    needs: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = False) -> dict:
        arguments = super().from_config(cfg, is_train)
        side = cfg.INPUT.TEST_SIDE
        if side:
            arguments["augmentations"] = [T.Resize((side, side))]
        return arguments
