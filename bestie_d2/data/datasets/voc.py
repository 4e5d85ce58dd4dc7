"""PASCAL VOC 2012 in the VOCdevkit layout: tags from XML, truth from the segmentation PNGs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from reprlib import repr as shortened

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.datasets.object_masks import ObjectMap
from bestie_d2.data.datasets.weak import EVALUATOR_TYPE
from bestie_d2.data.images import Size
from bestie_d2.data.labels.annotation_tools.export_files import parse
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.tags import read_tags
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

VOC_FOLDER = "VOC2012"
VOC_STEM = re.compile(r"\d{4}_\d{6}", re.ASCII)  # of images: a year and a number
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
TRAIN_AUG = "train_aug"

# What datasets/prepare_voc.py adds to the folder; a set is used with or without it.
PREPARE = "make it with python datasets/prepare_voc.py"
CLASS_MAPS = "SegmentationClassAug"  # true class maps of train_aug: VOC's own, and SBD's
CENTER_POINTS = "Center_points"  # the authors' name for their folder of given points
INSTANCES, TAGS = "instances_{}.json", "tags_{}.json"  # of a split, in COCO's form

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
        DatasetCatalog.register(name, partial(_load_named, name, folder, split, with_truth))
        MetadataCatalog.get(name).set(
            thing_classes=list(VOC_CLASSES),
            thing_dataset_id_to_contiguous_id={i + 1: i for i in range(len(VOC_CLASSES))},
            image_root=os.path.join(folder, "JPEGImages"),
            weak_maps=os.path.join(folder, "WSSS_maps"),
            cues=os.path.join(folder, cues),
            evaluator_type=EVALUATOR_TYPE,
        )


def _load_named(name: str, folder: str, split: str, with_truth: bool) -> list[dict]:
    truth = os.path.join(folder, INSTANCES.format(split))
    if not with_truth and os.path.isfile(truth):
        MetadataCatalog.get(name).json_file = truth
    return load_voc(folder, split, with_truth=with_truth)


def load_voc(folder: str, split: str, *, with_truth: bool) -> list[dict]:
    """The records of one image list of ``VOC2012``, in Detectron2's format.

    Tags and sizes come from the split's ``tags_*.json`` where that was prepared and has the image,
    else from the image's XML; ``annotations``, with the truth, from ``SegmentationObject`` and
    ``SegmentationClass``. A missing or unreadable file, or an unknown tag, is refused.
    """
    voc, prepared = VocFolder(folder), {}
    tags = os.path.join(folder, TAGS.format(split))
    if os.path.isfile(tags):
        prepared = {Path(r["file_name"]).stem: r for r in read_tags(tags, VOC_CLASSES).records}
    class_maps = "SegmentationClass" if with_truth else CLASS_MAPS
    has_class_maps = os.path.isdir(os.path.join(folder, class_maps))
    records = []
    for stem in voc.stems(split):
        record = prepared.get(stem) or voc.read_xml(stem)
        record["file_name"] = voc.file("JPEGImages", stem)
        record["image_id"] = voc_image_id(stem)
        if with_truth:
            size = (record["height"], record["width"])
            record["annotations"] = voc.read_objects(stem, size).annotations()
        if has_class_maps:
            record["semantic_truth_file_name"] = voc.file(class_maps, stem)
        records.append(record)
    return records


def voc_image_id(stem: str) -> int:
    """2007_000032 -> 2007000032."""
    return int(stem.replace("_", ""))


def read_list(path: str, hint: str) -> list[str]:
    """Image stems; the first word of a line is one, alone or as the path of an image. ``hint`` says
    what to do if there is no such file."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise InputError(f"{path}: no such file; {hint}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a list of images in UTF-8 ({error})") from None
    stems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        stem = Path(line.split()[0]).stem
        if not VOC_STEM.fullmatch(stem):
            told = f"line {number}: {shortened(stem)} is no name of VOC's, such as 2007_000032"
            raise InputError(f"{path}: {told}")
        stems.append(stem)
    return stems


@dataclass(frozen=True)
class VocFolder:
    """``VOC2012``: paths in it, and readers of its files; what is missing or wrong is refused."""

    path: str

    def list_file(self, split: str) -> str:
        return os.path.join(self.path, "ImageSets", "Segmentation", f"{split}.txt")

    def file(self, kind: str, stem: str) -> str:
        """An image's file in the folder ``kind``."""
        suffix = {"JPEGImages": ".jpg", "Annotations": ".xml"}.get(kind, ".png")
        return os.path.join(self.path, kind, stem + suffix)

    def stems(self, split: str) -> list[str]:
        """The images of a list."""
        hint = f"put VOC 2012 into {self.path} as docs/data_sets.md shows"
        return read_list(self.list_file(split), PREPARE if split == TRAIN_AUG else hint)

    def read_xml(self, stem: str) -> dict:
        """``height``, ``width`` and ``image_classes`` (sorted contiguous ids) of an annotation."""
        path = self.file("Annotations", stem)
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file; put VOC's Annotations there (image tags are read from them)"
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        tree = parse(path, content)
        try:
            size = {key: int(tree.findtext(f"size/{key}", "")) for key in ("height", "width")}
        except ValueError as error:
            raise InputError(f"{path}: not a VOC annotation ({error})") from None
        if min(size.values()) <= 0:
            raise InputError(f"{path}: 'size' is {size}, expected pixels")
        names = {item.findtext("name", "") for item in tree.iterfind("object")}
        unknown = sorted(names - set(VOC_CLASSES))
        if unknown:
            raise InputError(f"{path}: tag {unknown[0]!r} is not a VOC class")
        return {**size, "image_classes": sorted(VOC_CLASSES.index(name) for name in names)}

    def read_objects(self, stem: str, size: Size) -> ObjectMap:
        """The true objects of an image of ``size`` by the protocol of the VOC instance AP.

        Every number of the object PNG but 0 and 255 is one; its class is the class PNG's value
        under it. Void pixels belong to none, and no object is difficult or crowd.
        """
        object_path, class_path = (
            self.file(kind, stem) for kind in ("SegmentationObject", "SegmentationClass")
        )
        numbers = read_weak_sem_seg(object_path, IGNORE_INDEX - 1, size)
        class_map = read_weak_sem_seg(class_path, len(VOC_CLASSES), size)
        classes = {}
        for number in np.setdiff1d(numbers, (BACKGROUND_INDEX, IGNORE_INDEX)).tolist():
            index = int(np.bincount(class_map[numbers == number]).argmax())
            if index in (BACKGROUND_INDEX, IGNORE_INDEX):
                raise InputError(f"{class_path}: no class under object {number} of {object_path}")
            classes[number] = index - 1
        return ObjectMap(numbers, classes)
