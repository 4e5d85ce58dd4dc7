"""Weak labels, or instances labeled from them -> BESTIE's training input."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T

from bestie_d2.data.augmentation import build_training_augmentations
from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.attach import load_weak_records
from bestie_d2.data.labels.cue_positions import check_given_points
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.instance_files import attach_instance_labels, move_instance_map
from bestie_d2.data.labels.kept_classes import MAP_KEPT
from bestie_d2.data.mappers.image_tags import MAPPER_REGISTRY, tags_as_mask
from bestie_d2.data.paths import expand_path
from bestie_d2.labeling.transfer import Transfer
from bestie_d2.ops.components import find_components, regions_of_map
from bestie_d2.structures import PointCues

PIXEL_CENTER = 0.5  # a pixel's index lies so far inside its corner, which transforms speak of


def transform_cues(cues: PointCues, transforms: T.TransformList) -> PointCues:
    """Cues moved with their image. Those that leave the image are kept, outside of it: an object
    that is cut by the crop still has its center there."""
    xy = cues.yx.flip(1).numpy() + PIXEL_CENTER
    moved = transforms.apply_coords(xy.astype(np.float64)) - PIXEL_CENTER
    yx = torch.from_numpy(moved).float().reshape(-1, 2).flip(1)
    return PointCues(yx, cues.classes, cues.scores)


@MAPPER_REGISTRY.register()
class WeakInstanceMapper:
    """Reads and augments an image with its weak map and cues, and makes the pseudo labels: after
    augmentation, so that components and centers are those of the crop."""

    needs: ClassVar[frozenset[str]] = frozenset({"tags", "weak_maps", "cues"})

    @configurable
    def __init__(
        self,
        *,
        augmentations: list[T.Augmentation],
        reader: ImageReader,
        num_classes: int,
        supervision: str,
        transfer: Transfer,
    ) -> None:
        """
        Args:
            supervision: "tags" puts centers at the instances' centroids, "points" at the cues.
            transfer: how components become instances.
        """
        self.augmentations = T.AugmentationList(augmentations)
        self.reader = reader
        self.num_classes = num_classes
        self.centers = "cue" if supervision == "points" else "component"
        self.transfer = transfer

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node = cfg.MODEL.BESTIE
        return {
            "augmentations": build_training_augmentations(cfg),
            "reader": ImageReader.from_config(cfg),
            "num_classes": node.NUM_CLASSES,
            "supervision": node.SUPERVISION,
            "transfer": Transfer(
                sigma=node.SIGMA,
                sigma_by_size=node.SIGMA_BY_SIZE,
                min_area=node.MIN_AREA,
                whole_pixel_centers=node.WHOLE_PIXEL_CENTERS,
                split_weight=node.SPLIT_WEIGHT,
            ),
        }

    @staticmethod
    def load_records(cfg: CfgNode, dataset_name: str) -> list[dict]:
        """The records of a registered data set that this mapper takes."""
        records = load_weak_records(
            dataset_name,
            num_classes=cfg.MODEL.BESTIE.NUM_CLASSES,
            weak_maps=cfg.DATASETS.WEAK_MAPS,
            cues=cfg.DATASETS.CUES,
            score_threshold=cfg.DATASETS.CUE_THRESHOLD,
        )
        labels = expand_path(cfg.DATASETS.INSTANCE_LABELS)
        if not labels and cfg.MODEL.BESTIE.SUPERVISION == "points":
            check_given_points(dataset_name, records, cfg.MODEL.BESTIE.NUM_CLASSES)
        if not labels:
            return records
        classes = MetadataCatalog.get(dataset_name).thing_classes
        return attach_instance_labels(records, labels, classes)

    def __call__(self, record: dict) -> dict:
        """A record with ``sem_seg_file_name``, ``cues`` and ``image_classes`` -> model input.

        Its ``instance_labels``, if any, are learned from in place of the components with one cue.

        Returns:
            The record's other entries, and ``image`` (3, h, w) uint8, ``sem_seg`` (h, w) uint8
            WSSS indices, ``image_classes`` (C,) bool, ``cues`` in pixels of the crop, the weak
            map's ``components`` and ``pseudo_labels``.
        """
        record = copy.copy(record)
        image = self.reader.read_of(record)
        size = (record["height"], record["width"])
        path, kept = record.pop("sem_seg_file_name"), record.pop(MAP_KEPT, None)
        weak_map = read_weak_sem_seg(path, self.num_classes, size, kept=kept)
        augmented = T.AugInput(image, sem_seg=weak_map)
        transforms = self.augmentations(augmented)

        tags = record["image_classes"]
        record["image"] = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        record["sem_seg"] = torch.from_numpy(augmented.sem_seg.copy())
        record["image_classes"] = tags_as_mask(tags, self.num_classes)
        record["cues"] = cues = transform_cues(record["cues"], transforms)
        # Given points gather the smallest components too.
        min_area = 1 if self.centers == "cue" else self.transfer.min_area
        components = find_components(augmented.sem_seg, tags, min_area=min_area)
        record["components"] = components
        if "instance_labels" in record:
            labels = record.pop("instance_labels")
            moved = move_instance_map(labels.draw(size), transforms)
            found = self.transfer.label(regions_of_map(moved, labels.classes))
        else:
            found = self.transfer.from_cues(components, cues)
        if self.centers == "cue":
            found = self.transfer.at_cues(found, cues, record["image_classes"])
        record["pseudo_labels"] = found
        return record
