"""PASCAL VOC 2012 in the VOCdevkit layout: tags from XML, truth from the segmentation PNGs."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools import mask as mask_api

from bestie_d2.data.datasets.weak import EVALUATOR_TYPE
from bestie_d2.data.readers import Size, read_weak_sem_seg
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

VOC_FOLDER = "VOC2012"
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
MAX_OBJECT_ID = IGNORE_INDEX - 1  # an object PNG holds 0, the objects' ids, and 255 for void

# Detectron2 has the names voc_2012_train and voc_2012_val for VOC's detection task.
# name: (image list, the authors' folder of cues, whether the truth is read)
VOC_SETS = {
    "voc_2012_train_aug": ("train_aug", "Peak_points", False),
    "voc_2012_train_aug_point": ("train_aug", "Center_points", False),
    "voc_2012_seg_train": ("train", "Peak_points", True),
    "voc_2012_seg_val": ("val", "Peak_points", True),
}


def register_voc(root: str) -> None:
    """Register the VOC 2012 sets found in ``root/VOC2012``; nothing is opened before first use.

    ``voc_2012_seg_train`` and ``voc_2012_seg_val`` carry the truth, to measure pseudo labels and
    predictions; the ``train_aug`` sets have tags and points alone.
    """
    folder = os.path.join(root, VOC_FOLDER)
    for name, (split, cues, with_truth) in VOC_SETS.items():

        def load(split: str = split, with_truth: bool = with_truth) -> list[dict]:
            return load_voc(folder, split, with_truth=with_truth)

        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(
            thing_classes=list(VOC_CLASSES),
            thing_dataset_id_to_contiguous_id={i + 1: i for i in range(len(VOC_CLASSES))},
            image_root=os.path.join(folder, "JPEGImages"),
            weak_maps=os.path.join(folder, "WSSS_maps"),
            cues=os.path.join(folder, cues),
            evaluator_type=EVALUATOR_TYPE,
        )


def load_voc(folder: str, split: str, *, with_truth: bool) -> list[dict]:
    """The records of one image list, in Detectron2's format.

    Args:
        folder: ``VOC2012``, with ``JPEGImages``, ``Annotations`` and ``ImageSets/Segmentation``.
        split: name of a list there.
        with_truth: read ``annotations`` from ``SegmentationObject`` and ``SegmentationClass``.

    Raises:
        InputError: a missing or unreadable file, or a tag that is no VOC class.
    """
    records = []
    for stem in _read_list(folder, split):
        record = _read_xml(os.path.join(folder, "Annotations", f"{stem}.xml"))
        record["file_name"] = os.path.join(folder, "JPEGImages", f"{stem}.jpg")
        record["image_id"] = int(stem.replace("_", ""))
        if with_truth:
            size = (record["height"], record["width"])
            record["annotations"] = read_voc_instances(folder, stem, size)
            record["semantic_truth_file_name"] = os.path.join(
                folder, "SegmentationClass", f"{stem}.png"
            )
        records.append(record)
    return records


def _read_list(folder: str, split: str) -> list[str]:
    """Image stems; the first word of a line is one, alone or as the path of an image."""
    path = os.path.join(folder, "ImageSets", "Segmentation", f"{split}.txt")
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        raise InputError(
            f"{path}: no such file; put VOC 2012 into {folder} as datasets/README.md shows"
        ) from None
    return [Path(line.split()[0]).stem for line in lines if line.strip()]


def _read_xml(path: str) -> dict:
    """``height``, ``width`` and ``image_classes`` (sorted contiguous ids) of one annotation."""
    try:
        tree = ElementTree.parse(path)
        size = {key: int(tree.findtext(f"size/{key}", "")) for key in ("height", "width")}
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; put VOC's Annotations there (image tags are read from them)"
        ) from None
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: not a VOC annotation ({error})") from None
    names = {item.findtext("name", "") for item in tree.iterfind("object")}
    unknown = sorted(names - set(VOC_CLASSES))
    if unknown:
        raise InputError(f"{path}: tag {unknown[0]!r} is not a VOC class")
    return {**size, "image_classes": sorted(VOC_CLASSES.index(name) for name in names)}


def read_voc_instances(folder: str, stem: str, size: Size) -> list[dict]:
    """The true instances of an image by the protocol of the VOC instance AP.

    Every id of the object PNG but 0 and 255 is one; its class is the class PNG's value under it.
    Void pixels belong to none, and no object is difficult or crowd.

    Returns:
        Annotations with ``bbox`` (XYXY_ABS, pixels), ``category_id`` (contiguous),
        ``segmentation`` (compressed RLE with string counts) and ``iscrowd`` 0.

    Raises:
        InputError: a missing or unreadable PNG, one of another ``size`` (height, width), or an
            object without a class.
    """
    object_path = os.path.join(folder, "SegmentationObject", f"{stem}.png")
    class_path = os.path.join(folder, "SegmentationClass", f"{stem}.png")
    objects = read_weak_sem_seg(object_path, MAX_OBJECT_ID, size)
    class_map = read_weak_sem_seg(class_path, len(VOC_CLASSES), size)
    annotations = []
    for object_id in np.setdiff1d(objects, (BACKGROUND_INDEX, IGNORE_INDEX)):
        mask = objects == object_id
        index = int(np.bincount(class_map[mask]).argmax())
        if index in (BACKGROUND_INDEX, IGNORE_INDEX):
            raise InputError(f"{class_path}: no class under object {object_id} of {object_path}")
        annotations.append(_to_annotation(mask, index - 1))
    return annotations


def _to_annotation(mask: np.ndarray, category_id: int) -> dict:
    rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    ys, xs = mask.nonzero()
    return {
        "bbox": [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": category_id,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
        "iscrowd": 0,
    }
