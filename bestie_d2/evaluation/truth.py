"""True and predicted masks as run-length encodings (RLE), by image id."""

from __future__ import annotations

import logging
from collections.abc import Hashable

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from pycocotools import mask as mask_api
from torch import Tensor

from bestie_d2.data.datasets.object_masks import check_object, problem_of_mask
from bestie_d2.data.datasets.weak import TRUTH_LISTS
from bestie_d2.data.readers import load_json
from bestie_d2.data.weak_labels import check_readable
from bestie_d2.errors import InputError

# image id -> its objects: {"category_id": int, "segmentation": RLE} and, if predicted, "score"
ObjectsByImage = dict[Hashable, list[dict]]

logger = logging.getLogger(__name__)


def encode_masks(masks: Tensor) -> list[dict]:
    """RLE with byte counts of each of (N, H, W) bool masks on any device."""
    if len(masks) == 0:
        return []
    stacked = masks.detach().cpu().numpy().astype(np.uint8)
    return mask_api.encode(np.asfortranarray(stacked.transpose(1, 2, 0)))


def to_rle(segmentation: dict | list, height: int, width: int) -> dict:
    """One RLE from an RLE, compressed or not, or from polygons in (x, y) pixels."""
    if isinstance(segmentation, list):
        return mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return mask_api.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def has_truth(dataset_name: str) -> bool:
    """Whether a registered data set comes with true masks."""
    records = DatasetCatalog.get(dataset_name)
    in_records = any("annotations" in record for record in records)
    return in_records or bool(MetadataCatalog.get(dataset_name).get("json_file"))


def load_truth(dataset_name: str, *, crowds: bool = False) -> ObjectsByImage:
    """The true objects of every image of a registered data set, contiguous classes ``0..C-1``.

    They come from the records' ``annotations``, or else from the COCO file that the metadata names
    as ``json_file``. Crowd annotations are left out, and the log says how many, unless ``crowds``
    asks for them; then they have ``iscrowd`` 1.

    Raises:
        InputError: the data set is not registered, or comes without any truth; an object's box or
            mask is none.
    """
    if dataset_name not in DatasetCatalog:
        raise InputError(f"data set {dataset_name!r} is not registered; see DATASETS.CUSTOM")
    records = DatasetCatalog.get(dataset_name)
    check_readable(records)
    annotations: dict[Hashable, list[dict]] = {}
    for record in records:
        if "annotations" in record:
            annotations[record["image_id"]] = record["annotations"]
    if not annotations:
        annotations = _annotations_of_file(dataset_name)
    truth: ObjectsByImage = {}
    num_crowds = 0
    for record in records:
        objects = truth[record["image_id"]] = []
        size = (record["height"], record["width"])
        for annotation in annotations.get(record["image_id"], []):
            problem = problem_of_mask(annotation["segmentation"], size)
            if problem:
                raise InputError(f"truth of {dataset_name!r}: {record['file_name']}: {problem}")
            is_crowd = annotation.get("iscrowd", 0)
            if is_crowd and not crowds:
                num_crowds += 1
                continue
            rle = to_rle(annotation["segmentation"], *size)
            objects.append({"category_id": annotation["category_id"], "segmentation": rle})
            if is_crowd:
                objects[-1]["iscrowd"] = 1
    if num_crowds:
        logger.info("%s: %d crowd annotations are left out", dataset_name, num_crowds)
    return truth


def _annotations_of_file(dataset_name: str) -> dict[Hashable, list[dict]]:
    """Annotations by image id, with contiguous classes, of the metadata's COCO file."""
    metadata = MetadataCatalog.get(dataset_name)
    path = metadata.get("json_file")
    if not path:
        raise InputError(
            f"data set {dataset_name!r} has no true masks: register it with 'annotations'"
        )
    by_image: dict[Hashable, list[dict]] = {}
    for number, annotation in enumerate(load_json(path, TRUTH_LISTS)["annotations"]):
        check_object(f"{path}: annotations[{number}]", annotation)
        contiguous = metadata.thing_dataset_id_to_contiguous_id.get(annotation["category_id"])
        if contiguous is None:
            raise InputError(
                f"{path}: category id {annotation['category_id']} is not one of the data set "
                f"{dataset_name!r}"
            )
        annotation = {**annotation, "category_id": contiguous}
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    return by_image
