"""Pictures of what a model makes of a data set, beside everything that it was taught with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, detection_utils
from PIL import Image
from pycocotools import mask as mask_api
from tqdm import tqdm

from bestie_d2.contact_sheet import MaskSet, SheetSample, draw_prediction_sheet
from bestie_d2.data import EvaluationMapper, read_cues, read_weak_sem_seg
from bestie_d2.data.weak_labels import WEAK_MAP_SUFFIX
from bestie_d2.evaluation import has_truth, load_truth
from bestie_d2.modeling.meta_arch import BESTIE

ROWS_A_SHEET = 3
MIN_SCORE = 0.1  # predictions below it are not drawn


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
    records = DatasetCatalog.get(dataset_name)
    chosen = np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round())
    samples = _SampleMaker(cfg, model, dataset_name)
    os.makedirs(folder, exist_ok=True)
    drawn, files = [], []
    model.eval()
    for index in tqdm(chosen.astype(int).tolist(), desc="pictures", leave=False):
        drawn.append(samples.make(records[index]))
    for start in range(0, len(drawn), ROWS_A_SHEET):
        sheet = draw_prediction_sheet(drawn[start : start + ROWS_A_SHEET], samples.class_names)
        files.append(Path(folder, f"predictions_{start // ROWS_A_SHEET + 1}.png"))
        Image.fromarray(sheet).save(files[-1])
    return files


class _SampleMaker:
    """Collects everything that a picture shows of a record; what the data set lacks stays out."""

    def __init__(self, cfg: CfgNode, model: BESTIE, dataset_name: str) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        self.model = model
        self.mapper = EvaluationMapper(cfg, is_train=False)
        self.class_names = list(metadata.thing_classes)
        self.truth = load_truth(dataset_name) if has_truth(dataset_name) else None
        self.weak_maps = metadata.get("weak_maps")
        cues = metadata.get("cues")
        sizes = {
            Path(record["file_name"]).stem: (record["height"], record["width"])
            for record in DatasetCatalog.get(dataset_name)
        }
        known = cues and os.path.exists(cues)
        self.cues = read_cues(cues, classes=self.class_names, sizes=sizes) if known else {}

    def make(self, record: dict) -> SheetSample:
        stem = Path(record["file_name"]).stem
        item = self.mapper(record)
        size = (record["height"], record["width"])
        _, center, offset = self.model.predict_maps(item["image"], size)
        with torch.no_grad():
            instances = self.model([item])[0]["instances"].to("cpu")
        shown = instances[instances.scores > MIN_SCORE]
        return SheetSample(
            image=detection_utils.read_image(record["file_name"], format="RGB"),
            weak_map=self._weak_map(stem, size),
            cues=self.cues.get(stem),
            center=center.cpu(),
            offset=offset.cpu(),
            prediction=MaskSet(shown.pred_masks, shown.pred_classes, shown.scores),
            truth=self._truth(record["image_id"], size),
        )

    def _weak_map(self, stem: str, size: tuple[int, int]) -> np.ndarray | None:
        path = os.path.join(self.weak_maps or "", stem + WEAK_MAP_SUFFIX)
        if not self.weak_maps or not os.path.isfile(path):
            return None
        return read_weak_sem_seg(path, len(self.class_names), size)

    def _truth(self, image_id: int | str, size: tuple[int, int]) -> MaskSet | None:
        if self.truth is None:
            return None
        objects = self.truth.get(image_id, [])
        masks = [mask_api.decode(item["segmentation"]) for item in objects]
        return MaskSet(
            np.array(masks, dtype=bool).reshape(-1, *size),
            np.array([item["category_id"] for item in objects], dtype=np.int64),
        )
