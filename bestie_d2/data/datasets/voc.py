"""PASCAL VOC 2012 in the VOCdevkit layout: tags from XML, truth from the segmentation PNGs."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.datasets.objects import ObjectMap
from bestie_d2.data.datasets.weak import EVALUATOR_TYPE
from bestie_d2.data.images import Size
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.tags import read_tags
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

VOC_FOLDER = "VOC2012"
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
SUFFIXES = {"JPEGImages": ".jpg", "Annotations": ".xml"}  # of a folder's files; else PNGs

PREPARE = "make it with python datasets/prepare_voc.py"
# What datasets/prepare_voc.py adds to the folder; a set is used with or without it.
TRAIN_AUG = "train_aug"
CLASS_MAPS = "SegmentationClassAug"  # true class maps of train_aug: VOC's own, and SBD's
CENTER_POINTS = "Center_points"  # the authors' name for their folder of given points

# Detectron2 has the names voc_2012_train and voc_2012_val for VOC's detection task.
# name: (image list, the authors' folder of cues, whether the truth is read)
VOC_SETS = {
    "voc_2012_train_aug": (TRAIN_AUG, "Peak_points", False),
    "voc_2012_train_aug_point": (TRAIN_AUG, CENTER_POINTS, False),
    "voc_2012_seg_train": ("train", "Peak_points", True),
    "voc_2012_seg_val": ("val", "Peak_points", True),
}


def register_voc(root: str) -> None:
    """Register the VOC 2012 sets found in ``root/VOC2012``; nothing is opened before first use.

    ``voc_2012_seg_train`` and ``voc_2012_seg_val`` carry the truth, to measure pseudo labels and
    predictions; the records of the ``train_aug`` sets have tags alone. Where these were prepared,
    their truth is named beside: ``json_file`` of the metadata, for who measures pseudo labels.
    """
    folder = os.path.join(root, VOC_FOLDER)
    for name, (split, cues, with_truth) in VOC_SETS.items():

        def load(name: str = name, split: str = split, with_truth: bool = with_truth) -> list[dict]:
            truth = os.path.join(folder, instances_file(split))
            if not with_truth and os.path.isfile(truth):
                MetadataCatalog.get(name).json_file = truth
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

    Tags and sizes come from the split's ``tags_*.json`` where that was prepared and has the image,
    else from the image's XML.

    Args:
        folder: ``VOC2012``, with ``JPEGImages``, ``Annotations`` and ``ImageSets/Segmentation``.
        split: name of a list there.
        with_truth: read ``annotations`` from ``SegmentationObject`` and ``SegmentationClass``.

    Raises:
        InputError: a missing or unreadable file, or a tag that is no VOC class.
    """
    tags, prepared = os.path.join(folder, tags_file(split)), {}
    if os.path.isfile(tags):
        prepared = {Path(r["file_name"]).stem: r for r in read_tags(tags, VOC_CLASSES).records}
    class_maps = "SegmentationClass" if with_truth else CLASS_MAPS
    has_class_maps = os.path.isdir(os.path.join(folder, class_maps))
    records = []
    for stem in read_voc_list(folder, split):
        record = prepared.get(stem) or read_voc_xml(voc_file(folder, "Annotations", stem))
        record["file_name"] = voc_file(folder, "JPEGImages", stem)
        record["image_id"] = voc_image_id(stem)
        if with_truth:
            size = (record["height"], record["width"])
            record["annotations"] = read_voc_objects(folder, stem, size).annotations()
        if has_class_maps:
            record["semantic_truth_file_name"] = voc_file(folder, class_maps, stem)
        records.append(record)
    return records


def voc_image_id(stem: str) -> int:
    """2007_000032 -> 2007000032."""
    return int(stem.replace("_", ""))


def voc_list(folder: str, split: str) -> str:
    """The path of an image list."""
    return os.path.join(folder, "ImageSets", "Segmentation", f"{split}.txt")


def voc_file(folder: str, kind: str, stem: str) -> str:
    """The path of an image's file in one of the folders of ``VOC2012``."""
    return os.path.join(folder, kind, stem + SUFFIXES.get(kind, ".png"))


def instances_file(split: str) -> str:
    """The name of a split's COCO instance JSON."""
    return f"instances_{split}.json"


def tags_file(split: str) -> str:
    """The name of a split's tags in COCO style."""
    return f"tags_{split}.json"


def read_voc_list(folder: str, split: str) -> list[str]:
    """Image stems of a list of ``VOC2012``; see :func:`read_list`."""
    hint = f"put VOC 2012 into {folder} as datasets/README.md shows"
    if split == TRAIN_AUG:
        hint = PREPARE
    return read_list(voc_list(folder, split), hint)


def read_list(path: str, hint: str) -> list[str]:
    """Image stems; the first word of a line is one, alone or as the path of an image.

    Raises:
        InputError: there is no such file, and ``hint`` says what to do; or it is no text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise InputError(f"{path}: no such file; {hint}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a list of images in UTF-8 ({error})") from None
    return [Path(line.split()[0]).stem for line in lines if line.strip()]


def read_voc_xml(path: str) -> dict:
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


def read_voc_objects(folder: str, stem: str, size: Size) -> ObjectMap:
    """The true objects of an image by the protocol of the VOC instance AP.

    Every number of the object PNG but 0 and 255 is one; its class is the class PNG's value under
    it. Void pixels belong to none, and no object is difficult or crowd.

    Raises:
        InputError: a missing or unreadable PNG, one of another ``size`` (height, width), or an
            object without a class.
    """
    object_path = voc_file(folder, "SegmentationObject", stem)
    class_path = voc_file(folder, "SegmentationClass", stem)
    numbers = read_weak_sem_seg(object_path, IGNORE_INDEX - 1, size)
    class_map = read_weak_sem_seg(class_path, len(VOC_CLASSES), size)
    classes = {}
    for number in np.setdiff1d(numbers, (BACKGROUND_INDEX, IGNORE_INDEX)).tolist():
        index = int(np.bincount(class_map[numbers == number]).argmax())
        if index in (BACKGROUND_INDEX, IGNORE_INDEX):
            raise InputError(f"{class_path}: no class under object {number} of {object_path}")
        classes[number] = index - 1
    return ObjectMap(numbers, classes)
