"""What Detectron2's own models learn from: sets with instance masks, looked through beforehand.

Models of this package read weak labels through an ``INPUT.MAPPER``; these read annotations.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.checks.class_names import check_class_names
from bestie_d2.data.datasets.object_masks import is_box
from bestie_d2.errors import InputError
from bestie_d2.model_keys import num_classes, num_classes_key

BITMASK = "bitmask"  # INPUT.MASK_FORMAT of masks that come as RLE
FILTER = "DATALOADER.FILTER_EMPTY_ANNOTATIONS"

logger = logging.getLogger(__name__)


def check_train_sets(cfg: CfgNode) -> None:
    """Read the sets of ``DATASETS.TRAIN`` as Detectron2's loader will; say which images it drops.

    Where ``INPUT.MAPPER`` names a mapper, that one checks its own sets, but for the classes' names.

    Raises:
        InputError: a set is unknown or without masks, or model and set do not go together.
    """
    check_class_names(cfg)
    if cfg.INPUT.MAPPER:
        return
    for name in cfg.DATASETS.TRAIN:
        if name not in DatasetCatalog:
            raise InputError(f"DATASETS.TRAIN: data set {name!r} is not registered")
        records = DatasetCatalog.get(name)
        if not all("annotations" in record for record in records):
            raise InputError(
                f"DATASETS.TRAIN: data set {name!r} has no masks to train on; register it with "
                "'annotations' and without 'tags' and 'points'"
            )
        _check_classes(cfg, name)
        _check_mask_format(cfg, name, records)
        _check_boxes(name, records)
        _tell_empty_images(cfg, name, records)


def _check_classes(cfg: CfgNode, name: str) -> None:
    """Refuse another number of classes than the model's."""
    classes = list(MetadataCatalog.get(name).thing_classes)
    if len(classes) != num_classes(cfg):
        raise InputError(
            f"{num_classes_key(cfg)} is {num_classes(cfg)}, but the data set {name!r} of "
            f"DATASETS.TRAIN has {len(classes)} classes ({', '.join(classes)})"
        )


def _check_mask_format(cfg: CfgNode, name: str, records: Sequence[dict]) -> None:
    has_rle = any(isinstance(item.get("segmentation"), dict) for item in _objects(records))
    if has_rle and cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT != BITMASK:
        raise InputError(
            f"INPUT.MASK_FORMAT is {cfg.INPUT.MASK_FORMAT!r}, but the masks of {name!r} of "
            f"DATASETS.TRAIN are run-length encoded: set it to {BITMASK!r}"
        )


def _check_boxes(name: str, records: Sequence[dict]) -> None:
    for record in records:
        for item in _objects([record]):
            if not is_box(item.get("bbox")):
                raise InputError(
                    f"DATASETS.TRAIN: {name!r}: {record['file_name']}: the 'bbox' of an object is "
                    f"{item.get('bbox')!r}, expected [left, top, width, height]"
                )


def _tell_empty_images(cfg: CfgNode, name: str, records: Sequence[dict]) -> None:
    empty = sum(next(_objects([record]), None) is None for record in records)
    filtered = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    if filtered and empty == len(records):
        raise InputError(
            f"DATASETS.TRAIN: none of the {len(records)} images of {name!r} has an instance"
        )
    fate = "are left out of the training" if filtered else "are trained on as background"
    logger.info(
        "%s: %d of %d images have no instance and %s (%s %s)",
        name, empty, len(records), fate, FILTER, filtered,
    )  # fmt: skip


def _objects(records: Sequence[dict]) -> Iterator[dict]:
    """Annotations that Detectron2 trains on: those that are no crowd."""
    for record in records:
        yield from (item for item in record["annotations"] if not item.get("iscrowd", 0))
