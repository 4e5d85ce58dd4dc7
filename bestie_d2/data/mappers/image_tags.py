"""Image tags -> training input of the PAM classifier and the built-in WSSS network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.utils.registry import Registry
from torch import Tensor

from bestie_d2.data.augmentation import build_tag_augmentations
from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.attach import load_tagged_records
from bestie_d2.model_keys import num_classes

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = """
Dataset mappers for weak labels, named by ``INPUT.MAPPER``: built by ``mapper(cfg)``, called with
one record at a time; ``mapper.load_records(cfg, dataset_name)`` gives the records. ``mapper.needs``
says what of a record it takes beside the image: of "tags", "weak_maps", "cues", "masks".
"""


def tags_as_mask(image_classes: Sequence[int], num_classes: int) -> Tensor:
    """(C,) bool, true at the class ids given."""
    mask = torch.zeros(num_classes, dtype=torch.bool)
    mask[list(image_classes)] = True
    return mask


@MAPPER_REGISTRY.register()
class ImageTagMapper:
    """Reads and augments an image; its tags are all that is known of it."""

    needs: ClassVar[frozenset[str]] = frozenset({"tags"})

    @configurable
    def __init__(
        self, *, augmentations: list[T.Augmentation], reader: ImageReader, num_classes: int
    ) -> None:
        self.augmentations = T.AugmentationList(augmentations)
        self.reader = reader
        self.num_classes = num_classes

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {
            "augmentations": build_tag_augmentations(cfg),
            "reader": ImageReader.from_config(cfg),
            "num_classes": num_classes(cfg),
        }

    @staticmethod
    def load_records(cfg: CfgNode, dataset_name: str) -> list[dict]:
        """The records of a registered data set that this mapper takes."""
        return load_tagged_records(dataset_name, num_classes(cfg))

    def __call__(self, record: dict) -> dict:
        """A record with ``image_classes`` -> its other entries, ``image`` (3, h, w) uint8 and
        ``image_classes`` (C,) bool."""
        record = copy.copy(record)
        augmented = T.AugInput(self.reader.read_of(record))
        self.augmentations(augmented)
        record["image"] = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        record["image_classes"] = tags_as_mask(record["image_classes"], self.num_classes)
        return record
