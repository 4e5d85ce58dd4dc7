"""How weak maps fit a data set: files, sizes, indices, tags and, where it is known, the truth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from bestie_d2.checks.training import classes_of
from bestie_d2.data import register_subset
from bestie_d2.data.labels.attach import classes_in_maps, weak_map_path
from bestie_d2.data.labels.index_png import check_maps_hold_classes, read_weak_sem_seg
from bestie_d2.data.names import label_name
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import PERCENT, Column, decimals, table
from bestie_d2.evaluation.failures import describe_failures, judge_instances
from bestie_d2.evaluation.semantic_iou import (
    SemanticTruth,
    confusion,
    has_semantic_truth,
    semantic_iou,
)
from bestie_d2.evaluation.truth import has_truth, load_truth
from bestie_d2.evaluation.weak_components import MIN_AREA
from bestie_d2.ops.components import crops_of_parts, find_components
from bestie_d2.ops.run_lengths import coco_rle
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, Components, ObjectMask, wsss_index

INDICES = 256  # of 8-bit maps
LISTED = 5  # lines of a kind that are shown before they are only counted


class WeakMapReport:
    """What was found in the maps of a data set.

    Attributes:
        read: of how many of the images the map could be read.
        unusable: a line for each map that no training could use; there may be none.
        lacking, beyond: names of images whose map has no pixel of a tag, and those whose map shows
            a class that they are not tagged with.
        pixels: (256,) of each index, over all maps.
        tagged, drawn: (C,) images with the tag, and those of them whose map shows the class.
        figures: of ``semantic_iou``, in percent; empty without truth.
        failures: where true objects are known, those and components of each kind.
    """

    def __init__(self, class_names: Sequence[str], images: int) -> None:
        self.class_names, self.images, self.read = class_names, images, 0
        self.unusable: list[str] = []
        self.lacking: list[str] = []
        self.beyond: list[str] = []
        self.pixels = np.zeros(INDICES, np.int64)
        self.tagged, self.drawn = np.zeros((2, len(class_names)), np.int64)
        self.figures: dict[str, float] = {}
        self.failures: Counter[str] = Counter()

    def add(self, name: str, counts: np.ndarray, image_classes: Sequence[int]) -> None:
        """Add one image by the (256,) pixels of each index in its map, and its tags."""
        self.read += 1
        self.pixels += counts
        shown = {c for c in range(len(self.class_names)) if counts[wsss_index(c)]}
        tags = set(image_classes)
        self.tagged[list(tags)] += 1
        self.drawn[list(tags & shown)] += 1
        self.lacking += [name] if tags - shown else []
        self.beyond += [name] if shown - tags else []

    @property
    def _shares(self) -> np.ndarray:
        """(256,) percent of all pixels."""
        return PERCENT * self.pixels / max(int(self.pixels.sum()), 1)

    def describe(self) -> list[str]:
        """What a person should know, in lines."""
        lines = [
            f"{self.read} of {self.images} maps can be used; "
            f"{self._shares[BACKGROUND_INDEX]:.1f} % of their pixels are background, "
            f"{self._shares[IGNORE_INDEX]:.1f} % unknown (255)"
        ]
        for names, what in (
            (self.lacking, "lack a class that the image is tagged with"),
            (self.beyond, "show a class that the image is not tagged with"),
        ):
            listed = ", ".join(names[:LISTED] + ["..."] * (len(names) > LISTED))
            lines += [f"{len(names)} maps {what}: {listed}"] if names else []
        more = [f"{len(self.unusable) - LISTED} more"] if len(self.unusable) > LISTED else []
        lines += [f"unusable: {line}" for line in self.unusable[:LISTED] + more]
        if self.figures:
            lines.append(
                f"against the truth: mIoU {self.figures['mIoU']:.1f}, foreground precision "
                f"{self.figures['precision']:.1f}, recall {self.figures['recall']:.1f}"
            )
        return lines + describe_failures(self.failures, "components")

    def table(self) -> str:
        """A row for each class: images with the tag, with its pixels, share of all, IoU."""
        shares = self._shares[wsss_index(0) :][: len(self.class_names)]
        columns: dict[str, Column] = {"class": self.class_names, "tagged images": self.tagged}
        columns |= {"drawn in": self.drawn, "pixels, %": decimals(shares, 2)}
        if self.figures:
            columns["IoU"] = decimals((self.figures[f"IoU-{name}"] for name in self.class_names), 1)
        return table(columns)


def maps_to_check(cfg: CfgNode, name: str, folder: str) -> tuple[str, str]:
    """The data set, by default the first of ``DATASETS.TRAIN``, and the folder of its weak maps, by
    default ``DATASETS.WEAK_MAPS`` or the registered one."""
    name = register_subset(name or (cfg.DATASETS.TRAIN or ("",))[0], cfg.DATASETS.SUBSET)
    classes_of(name)  # refuses an unknown one
    registered = MetadataCatalog.get(name).get("weak_maps")
    folder = folder or expand_path(cfg.DATASETS.WEAK_MAPS) or registered
    if not folder:
        raise InputError(f"data set {name!r} is registered without weak maps: give --weak-maps DIR")
    return name, folder


def check_weak_maps(name: str, folder: str, *, keep_missing: bool = False) -> WeakMapReport:
    """Read the weak map, ``<label name>.png`` in a folder, of every image of a registered data set.
    Missing maps are unusable; with ``keep_missing`` they are passed over.

    Raises:
        InputError: an unknown data set, or no such folder.
    """
    classes = classes_of(name)
    records = DatasetCatalog.get(name)  # may draw or unpack the maps
    if not os.path.isdir(folder):
        raise InputError(f"weak maps {folder}: no such folder")
    kept = classes_in_maps(name, folder)
    truth = SemanticTruth(name) if has_semantic_truth(name) else None
    objects = load_truth(name) if has_truth(name) else None
    report = WeakMapReport(classes, len(records))
    paths = [weak_map_path(folder, record) for record in records]
    try:
        check_maps_hold_classes(folder, paths)
    except InputError as error:
        report.unusable.append(str(error))
    counts = np.zeros((len(classes) + 1, len(classes) + 2), np.int64)
    bar = tqdm(paths, desc="reading", unit="map", leave=False)
    for record, path in zip(records, bar, strict=True):
        if keep_missing and not os.path.exists(path):
            continue
        try:
            size = (record["height"], record["width"])
            index_map = read_weak_sem_seg(path, len(classes), size, kept=kept)
        except InputError as error:
            report.unusable.append(str(error))
            continue
        pixels = np.bincount(index_map.ravel(), minlength=INDICES)
        report.add(label_name(record), pixels, record["image_classes"])
        if truth is not None:
            counts += confusion(index_map, truth.of(record["image_id"]), len(classes))
        if objects is not None:
            found = find_components(index_map, record["image_classes"], min_area=MIN_AREA)
            truth_of = objects[record["image_id"]]
            report.failures += judge_instances(_as_instances(found), truth_of)[0].counts()
    if counts.any():
        report.figures = semantic_iou(counts, classes)
    return report


def _as_instances(found: Components) -> list[dict]:
    """Components as ``judge_instances`` takes them, all equally sure; no mask of the map's size is
    in memory."""
    crops = crops_of_parts(found.owners, found.pixels, len(found), found.shape[1])
    objects = (
        ObjectMask(int(class_id), 1.0, *crop)
        for class_id, crop in zip(found.classes, crops, strict=True)
    )
    return [
        {"category_id": o.class_id, "segmentation": coco_rle(o, *found.shape), "score": o.score}
        for o in objects
    ]
