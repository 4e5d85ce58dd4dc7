"""How weak maps fit a data set: files, sizes, indices, tags and, where it is known, the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from bestie_d2.data.labels.attach import check_map_classes, weak_map_path
from bestie_d2.data.labels.index_png import check_maps_hold_classes, read_weak_sem_seg
from bestie_d2.data.names import label_name
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import PERCENT, Column, decimals, table
from bestie_d2.evaluation.semantic_iou import (
    SemanticTruth,
    confusion,
    has_semantic_truth,
    semantic_iou,
)
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX, wsss_index

INDICES = 256  # of 8-bit maps
LISTED = 5  # lines of a kind that are shown before they are only counted


@dataclass
class WeakMapReport:
    """What was found; a training needs ``unusable`` to be empty.

    Attributes:
        class_names: C names.
        images: how many images the data set has.
        read: of how many of them the map could be read.
        unusable: a line for each map that is missing, unreadable, of another size or with an index
            that is no class.
        lacking: names of images with a tag that their map has no pixel of.
        beyond: names of images whose map shows a class that they are not tagged with.
        pixels: (256,) of each index, over all maps.
        tagged, drawn: (C,) images with the tag, and those of them whose map shows the class.
        figures: of ``semantic_iou``, in percent; empty without truth.
    """

    class_names: Sequence[str]
    images: int
    read: int = 0
    unusable: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(INDICES, np.int64))
    tagged: np.ndarray = field(init=False)
    drawn: np.ndarray = field(init=False)
    figures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tagged, self.drawn = np.zeros((2, len(self.class_names)), np.int64)

    def add(self, name: str, counts: np.ndarray, image_classes: Sequence[int]) -> None:
        """Add one image by the pixels of each index in its map, and its tags."""
        self.read += 1
        self.pixels += counts
        shown = {c for c in range(len(self.class_names)) if counts[wsss_index(c)]}
        tags = set(image_classes)
        self.tagged[list(tags)] += 1
        self.drawn[list(tags & shown)] += 1
        if tags - shown:
            self.lacking.append(name)
        if shown - tags:
            self.beyond.append(name)

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
            if names:
                more = ", ..." if len(names) > LISTED else ""
                lines.append(f"{len(names)} maps {what}: {', '.join(names[:LISTED])}{more}")
        lines += [f"unusable: {line}" for line in self.unusable[:LISTED]]
        if len(self.unusable) > LISTED:
            lines.append(f"unusable: {len(self.unusable) - LISTED} more")
        if self.figures:
            lines.append(
                f"against the truth: mIoU {self.figures['mIoU']:.1f}, foreground precision "
                f"{self.figures['precision']:.1f}, recall {self.figures['recall']:.1f}"
            )
        return lines

    def table(self) -> str:
        """A row for each class: images with the tag, with its pixels, share of all, IoU."""
        shares = self._shares[wsss_index(0) :]
        columns: dict[str, Column] = {
            "class": self.class_names,
            "tagged images": self.tagged,
            "drawn in": self.drawn,
            "pixels, %": decimals(shares[: len(self.class_names)], 2),
        }
        if self.figures:
            columns["IoU"] = decimals((self.figures[f"IoU-{name}"] for name in self.class_names), 1)
        return table(columns)


def pixels_of_indices(index_map: np.ndarray) -> np.ndarray:
    """(256,) pixels of each index in an (H, W) map."""
    return np.bincount(index_map.ravel(), minlength=INDICES)


def maps_to_check(cfg: CfgNode, dataset_name: str, folder: str) -> tuple[str, str]:
    """The data set, by default the first of ``DATASETS.TRAIN``, and the folder of its weak maps, by
    default ``DATASETS.WEAK_MAPS`` or the registered one."""
    name = dataset_name or (cfg.DATASETS.TRAIN or ("",))[0]
    if name not in DatasetCatalog:
        raise InputError(f"data set {name!r} is not registered; see DATASETS.CUSTOM")
    folder = folder or expand_path(cfg.DATASETS.WEAK_MAPS)
    folder = folder or MetadataCatalog.get(name).get("weak_maps")
    if not folder:
        raise InputError(f"data set {name!r} is registered without weak maps: give --weak-maps DIR")
    return name, folder


def check_weak_maps(dataset_name: str, folder: str, *, keep_missing: bool = False) -> WeakMapReport:
    """Read the weak map of every image of a registered data set.

    Args:
        folder: of ``<label name>.png``.
        keep_missing: a missing map is passed over, not unusable.

    Raises:
        InputError: an unknown data set, or no such folder.
    """
    if dataset_name not in DatasetCatalog:
        raise InputError(f"data set {dataset_name!r} is not registered; see DATASETS.CUSTOM")
    records = DatasetCatalog.get(dataset_name)  # may draw or unpack the maps
    if not os.path.isdir(folder):
        raise InputError(f"weak maps {folder}: no such folder")
    class_names = list(MetadataCatalog.get(dataset_name).thing_classes)
    check_map_classes(folder, class_names)
    truth = SemanticTruth(dataset_name) if has_semantic_truth(dataset_name) else None
    report = WeakMapReport(class_names, len(records))
    paths = [weak_map_path(folder, record) for record in records]
    try:
        check_maps_hold_classes(folder, paths)
    except InputError as error:
        report.unusable.append(str(error))
    counts = np.zeros((len(class_names) + 1, len(class_names) + 2), np.int64)
    pairs = zip(records, tqdm(paths, desc="reading", unit="map", leave=False), strict=True)
    for record, path in pairs:
        size = (record["height"], record["width"])
        if keep_missing and not os.path.exists(path):
            continue
        try:
            index_map = read_weak_sem_seg(path, len(class_names), size)
        except InputError as error:
            report.unusable.append(str(error))
            continue
        report.add(label_name(record), pixels_of_indices(index_map), record["image_classes"])
        if truth is not None:
            counts += confusion(index_map, truth.of(record["image_id"]), len(class_names))
    if counts.any():
        report.figures = semantic_iou(counts, class_names)
    return report
