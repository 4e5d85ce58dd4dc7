"""Pictures of what a model makes of a data set, beside everything that it was taught with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api
from torch import nn
from tqdm import tqdm

from bestie_d2.data import EvaluationMapper, ImageReader, expand_path, read_weak_sem_seg
from bestie_d2.data.labels.attach import weak_map_path
from bestie_d2.data.labels.cue_files import read_cues_of_records
from bestie_d2.data.names import label_name
from bestie_d2.evaluation import has_truth, load_truth
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.pictures.sheets import MaskSet, SheetSample, draw_prediction_sheet
from bestie_d2.structures import PointCues

ROWS_A_SHEET = 3
MIN_SCORE = 0.1  # predictions below it are not drawn


def spread_over(records: Sequence[dict], count: int) -> list[dict]:
    """At most ``count`` records, evenly spread from the first to the last."""
    chosen = np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round())
    return [records[index] for index in chosen.astype(int).tolist()]


def draw_predictions(
    cfg: CfgNode, model: BESTIE, dataset_name: str, count: int, folder: str
) -> list[Path]:
    """Draw images spread over a data set: image, weak labels, maps, prediction and truth.

    Args:
        count: how many images.
        folder: where the sheets are written, ``predictions_1.png`` and on.

    Returns:
        The files, a few images in each.
    """
    samples = _SampleMaker(cfg, model, dataset_name)
    os.makedirs(folder, exist_ok=True)
    drawn, files = [], []
    model.eval()
    chosen = spread_over(samples.labels.records, count)
    for record in tqdm(chosen, desc="pictures", leave=False):
        drawn.append(samples.make(record))
    for start in range(0, len(drawn), ROWS_A_SHEET):
        sheet = draw_prediction_sheet(
            drawn[start : start + ROWS_A_SHEET], samples.labels.class_names
        )
        files.append(Path(folder, f"predictions_{start // ROWS_A_SHEET + 1}.png"))
        Image.fromarray(sheet).save(files[-1])
    return files


class _SampleMaker:
    """Collects everything that a picture shows of a record; what the data set lacks stays out."""

    def __init__(self, cfg: CfgNode, model: BESTIE, dataset_name: str) -> None:
        self.model = model
        self.mapper = EvaluationMapper(cfg, is_train=False)
        self.reader = ImageReader.from_config(cfg, "RGB")
        self.labels = KnownLabels(dataset_name)

    def make(self, record: dict) -> SheetSample:
        item = self.mapper(record)
        _, center, offset = self.model.predict_maps(item["image"], size_of(record))
        return SheetSample(
            image=self.reader.read(record["file_name"]),
            weak_map=self.labels.weak_map(record),
            cues=self.labels.cues(record),
            center=center.cpu(),
            offset=offset.cpu(),
            prediction=predicted_masks(self.model, item),
            truth=self.labels.truth(record),
        )


@torch.no_grad()
def predicted_masks(model: nn.Module, item: dict) -> MaskSet:
    """What a model finds in an input that ``EvaluationMapper`` made, above ``MIN_SCORE``."""
    instances = model([item])[0]["instances"].to("cpu")
    shown = instances[instances.scores > MIN_SCORE]
    return MaskSet(shown.pred_masks, shown.pred_classes, shown.scores)


def size_of(record: dict) -> tuple[int, int]:
    """(H, W) of a record's image."""
    return record["height"], record["width"]


class KnownLabels:
    """Weak labels and truth of a registered data set, for pictures: None for what is not there."""

    def __init__(self, dataset_name: str, *, weak_maps: str = "", cues: str = "") -> None:
        """
        Args:
            weak_maps, cues: paths that replace the registered ones unless empty.
        """
        self.records = DatasetCatalog.get(dataset_name)  # completes the metadata too
        metadata = MetadataCatalog.get(dataset_name)
        self.class_names = list(metadata.thing_classes)
        self._truth = load_truth(dataset_name) if has_truth(dataset_name) else None
        self._weak_maps = expand_path(weak_maps) or metadata.get("weak_maps")
        cues = expand_path(cues) or metadata.get("cues")
        known = cues and os.path.exists(cues)
        self.cues_by_name = (
            read_cues_of_records(cues, self.records, classes=self.class_names) if known else {}
        )

    def cues(self, record: dict) -> PointCues | None:
        return self.cues_by_name.get(label_name(record))

    def weak_map(self, record: dict) -> np.ndarray | None:
        """(H, W) WSSS indices."""
        path = weak_map_path(self._weak_maps, record) if self._weak_maps else ""
        if not os.path.isfile(path):
            return None
        return read_weak_sem_seg(path, len(self.class_names), size_of(record))

    def truth(self, record: dict) -> MaskSet | None:
        """The true objects."""
        if self._truth is None:
            return None
        return mask_set(self._truth.get(record["image_id"], []), size_of(record))


def mask_set(objects: Sequence[Mapping], size: tuple[int, int]) -> MaskSet:
    """Objects with RLE ``segmentation`` and ``category_id`` 0..C-1 as (N, H, W) masks."""
    masks = [mask_api.decode(item["segmentation"]) for item in objects]
    return MaskSet(
        np.array(masks, dtype=bool).reshape(-1, *size),
        np.array([item["category_id"] for item in objects], dtype=np.int64),
    )
