"""The true objects of a data set, with which every figure is measured, as run-length encodings."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools import mask as mask_api
from torch import Tensor

from bestie_d2.data.datasets.object_masks import is_box, is_number, to_rle
from bestie_d2.data.datasets.true_objects import (
    RecordsWithTruth,
    TrueObjects,
    objects_of_file,
    objects_of_records,
)
from bestie_d2.data.datasets.weak import EVALUATOR_TYPE
from bestie_d2.data.images import Size
from bestie_d2.data.labels.attach import check_readable, registered_records
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, load_json
from bestie_d2.data.labels.kept_classes import KEPT
from bestie_d2.data.labels.tags import log_once
from bestie_d2.errors import InputError

# image id -> its objects: {"category_id": int, "segmentation": RLE} and, if predicted, "score"
ObjectsByImage = dict[Hashable, list[dict]]
# Evaluator types of sets whose records leave out what a COCO file says of areas.
READ_FROM_FILES = (EVALUATOR_TYPE, "coco")

logger = logging.getLogger(__name__)


def encode_masks(masks: Tensor) -> list[dict]:
    """RLE with byte counts of each of (N, H, W) bool masks on any device; the copies that it takes
    are of one mask at a time."""
    masks = masks.detach().cpu()
    return [mask_api.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]


def predicted_objects(masks: Tensor, classes: Iterable[int], scores: Iterable[float]) -> list[dict]:
    """(N, H, W) bool masks on any device, classes and scores, as ``ObjectsByImage`` has them."""
    columns = zip(classes, encode_masks(masks), scores, strict=True)
    return [
        {"category_id": class_id, "segmentation": rle, "score": score}
        for class_id, rle, score in columns
    ]


def has_truth(dataset_name: str) -> bool:
    """Whether a registered data set comes with true masks."""
    records = DatasetCatalog.get(dataset_name)
    in_records = any("annotations" in record for record in records)
    return in_records or bool(MetadataCatalog.get(dataset_name).get("json_file"))


def load_truth(dataset_name: str, *, crowds: bool = False) -> ObjectsByImage:
    """What :func:`read_truth` reads of every image, contiguous classes ``0..C-1``: ``category_id``,
    ``segmentation`` (RLE), ``iscrowd``, ``area`` and ``bbox`` (XYWH) of each object.

    The log tells what is left out, crowds among it unless ``crowds`` asks for them.
    """
    truth = read_truth(dataset_name)
    for line in truth.notices:
        log_once(line, logging.WARNING)
    return truth.objects if crowds else without_crowds(dataset_name, truth.objects)


def without_crowds(dataset_name: str, objects: ObjectsByImage) -> ObjectsByImage:
    """The objects that are no crowd; the log says how many are left out."""
    kept = {
        image_id: [item for item in items if not item["iscrowd"]]
        for image_id, items in objects.items()
    }
    left_out = sum(map(len, objects.values())) - sum(map(len, kept.values()))
    if left_out:
        logger.info("%s: %d crowd annotations are left out", dataset_name, left_out)
    return kept


def read_truth(dataset_name: str) -> TrueObjects:
    """What every figure of a data set is measured with, crowds among it.

    The objects come from the COCO file that the metadata names as ``json_file``, or else from the
    records' ``annotations``. Those without a pixel, those that cannot be used, and those that are
    the same as another one are left out; images that the file does not have are without objects.

    Raises:
        InputError: the data set is not registered, or comes without any truth; too many objects
            cannot be used, or not one has a pixel.
    """
    records = registered_records(dataset_name)
    check_readable(records)
    given = _objects_as_given(dataset_name, records)
    found = replace(given, objects={})
    for record in records:
        image_id, size = record["image_id"], (record["height"], record["width"])
        objects = [_true_object(entry, size) for entry in given.objects[image_id]]
        known: dict[tuple, dict] = {}  # of the same class and mask nobody could find the second
        for item in filter(None, objects):
            mask = item["segmentation"]["counts"]
            known.setdefault((item["category_id"], item["iscrowd"], mask), item)
        without = objects.count(None)
        found.objects[image_id] = list(known.values())
        found.without_pixels += without
        found.repeated += len(objects) - without - len(known)
    if found.without_pixels and not any(found.objects.values()):
        raise InputError(f"{found.source}: none of its {found.total} objects has a pixel")
    return found


def _objects_as_given(dataset_name: str, records: list[dict]) -> TrueObjects:
    if isinstance(records, RecordsWithTruth):
        return records.truth
    metadata = MetadataCatalog.get(dataset_name)
    path, classes = metadata.get("json_file"), metadata.get("thing_classes", [])
    in_records = any("annotations" in record for record in records)
    if path and (not in_records or metadata.get("evaluator_type") in READ_FROM_FILES):
        data, root = load_json(path, IMAGE_LISTS), metadata.get("image_root", "")
        kept = metadata.get(KEPT)
        found = objects_of_file(path, data, records, kept.whole if kept else classes, root)
        for image_id, objects in found.objects.items() if kept else ():
            found.objects[image_id] = kept.objects(objects)
        return found
    if not in_records:
        raise InputError(
            f"data set {dataset_name!r} has no true masks: register it with 'annotations'"
        )
    return objects_of_records(f"truth of {dataset_name!r}", records, classes)


def _true_object(entry: Mapping, size: Size) -> dict | None:
    """An annotation with its mask as RLE; None if that has no pixel."""
    rle, area, box = to_rle(entry["segmentation"], *size), entry.get("area"), entry.get("bbox")
    pixels = int(mask_api.area(rle))
    if pixels == 0:
        return None
    if is_box(box):
        mode = entry.get("bbox_mode", BoxMode.XYWH_ABS)
        box = BoxMode.convert(list(box), mode, BoxMode.XYWH_ABS)
    else:
        box = mask_api.toBbox(rle).tolist()
    measured = is_number(area) and 0 < area <= size[0] * size[1]
    return {
        **{key: entry[key] for key in ("category_id", "iscrowd")},
        **{"segmentation": rle, "area": area if measured else pixels, "bbox": box},
    }
