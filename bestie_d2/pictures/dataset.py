"""What is known of a data set's images, and what a model makes of them, drawn.

Models and what is found with them come as arguments: pictures stand below what trains and checks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api
from torch import Tensor, nn
from tqdm import tqdm

from bestie_d2.data import EvaluationMapper, ImageReader, expand_path, read_weak_sem_seg
from bestie_d2.data.datasets.object_masks import to_rle
from bestie_d2.data.labels.attach import classes_in_maps, weak_map_path
from bestie_d2.data.labels.cue_files import read_cues_of_records
from bestie_d2.data.labels.kept_classes import KEPT, MAP_KEPT
from bestie_d2.data.names import label_name
from bestie_d2.errors import InputError
from bestie_d2.evaluation import has_truth, load_truth
from bestie_d2.evaluation.failures import judge_cues, judge_instances
from bestie_d2.evaluation.truth import predicted_objects
from bestie_d2.labeling.transfer import Transfer
from bestie_d2.model_keys import num_classes
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.ops.components import find_components, regions_of_map
from bestie_d2.pictures.overlays import MaskSet
from bestie_d2.pictures.sheets import Layers, contact_sheet, draw_layers, write_sheets
from bestie_d2.structures import PointCues

MIN_SCORE = 0.1  # predictions below it are not drawn
TRUTH = "truth"  # the title of true objects
Item = TypeVar("Item")


def spread_over(items: Sequence[Item], count: int) -> list[Item]:
    """At most ``count`` items, evenly spread from the first to the last."""
    chosen = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[index] for index in np.unique(chosen)]


def size_of(record: Mapping) -> tuple[int, int]:
    """(H, W) of a record's image."""
    return record["height"], record["width"]


def mask_set(record: Mapping, objects: Sequence[Mapping]) -> MaskSet:
    """Objects of an image, with ``segmentation`` and ``category_id`` 0..C-1, without crowds."""
    objects = [item for item in objects if not item.get("iscrowd", 0)]
    rles = [to_rle(item["segmentation"], *size_of(record)) for item in objects]
    masks = np.array([mask_api.decode(rle) for rle in rles], bool).reshape(-1, *size_of(record))
    return MaskSet(masks, np.array([item["category_id"] for item in objects], np.int64))


class KnownLabels:
    """Weak labels and truth of a registered data set, read when first asked for; None, or nothing,
    for what is not there. ``weak_maps`` and ``cues`` replace the registered paths unless empty."""

    def __init__(self, dataset_name: str, *, weak_maps: str = "", cues: str = "") -> None:
        self.name = dataset_name
        self.records = DatasetCatalog.get(dataset_name)  # completes the metadata too
        metadata = MetadataCatalog.get(dataset_name)
        self.class_names = list(metadata.thing_classes)
        self._weak_maps = expand_path(weak_maps) or metadata.get("weak_maps")
        self._cues = expand_path(cues) or metadata.get("cues")

    @cached_property
    def cues_by_name(self) -> dict[str, PointCues]:
        if not self._cues or not os.path.exists(self._cues):
            return {}
        classes, kept = self.class_names, MetadataCatalog.get(self.name).get(KEPT)
        return read_cues_of_records(self._cues, self.records, classes=classes, kept=kept)

    @cached_property
    def _truth(self) -> Mapping | None:
        return load_truth(self.name) if has_truth(self.name) else None

    def cues(self, record: dict, above: float = -math.inf) -> PointCues | None:
        """Those that score above a threshold."""
        cues = self.cues_by_name.get(label_name(record))
        return None if cues is None else cues[cues.scores > above]

    def weak_map(self, record: dict) -> np.ndarray | None:
        """(H, W) WSSS indices."""
        path = weak_map_path(self._weak_maps, record) if self._weak_maps else ""
        if not os.path.isfile(path):
            return None
        kept = classes_in_maps(self.name, self._weak_maps)
        return read_weak_sem_seg(path, len(self.class_names), size_of(record), kept=kept)

    def truth(self, record: dict) -> dict[str, MaskSet]:
        """The true objects under that title, or nothing."""
        if self._truth is None:
            return {}
        return {TRUTH: mask_set(record, self._truth.get(record["image_id"], []))}


def _objects(found: MaskSet) -> list[dict]:
    """As ``evaluation.failures`` takes them."""
    scores = np.ones(len(found.masks)) if found.scores is None else np.asarray(found.scores)
    classes = np.asarray(found.classes).tolist()
    return predicted_objects(torch.as_tensor(found.masks), classes, scores.tolist())


def mark_failures(instances: Mapping[str, MaskSet], judged: str) -> None:
    """Where an image's truth is among its instances, mark all others with what became of them, and
    the true objects with what the set called ``judged`` makes of them."""
    truth = instances.get(TRUTH)
    for title, found in instances.items():
        if truth is not None and found is not truth:
            kinds, _, _ = judge_instances(_objects(found), _objects(truth))
            found.kinds = kinds.instances.tolist()
            if title == judged:
                truth.kinds = kinds.objects.tolist()


@torch.no_grad()
def predicted_masks(model: nn.Module, item: dict) -> MaskSet:
    """What a model finds in an input that ``EvaluationMapper`` made, above ``MIN_SCORE``."""
    instances = model([item])[0]["instances"].to("cpu")
    shown = instances[instances.scores > MIN_SCORE]
    return MaskSet(shown.pred_masks, shown.pred_classes, shown.scores)


def draw_predictions(
    cfg: CfgNode, model: BESTIE, dataset_name: str, count: int, folder: str
) -> list[Path]:
    """Draw ``count`` images spread over a data set, with weak labels, maps, prediction and truth,
    both marked with what became of them, into ``<folder>/predictions_1.png`` and on; returns the
    files."""
    labels, mapper = KnownLabels(dataset_name), EvaluationMapper(cfg, is_train=False)
    reader, samples = ImageReader.from_config(cfg, "RGB"), []
    os.makedirs(folder, exist_ok=True)
    model.eval()
    for record in tqdm(spread_over(labels.records, count), desc="pictures", leave=False):
        item = mapper(record)
        _, center, offset = model.predict_maps(item["image"], size_of(record))
        layers = Layers(reader.read(record["file_name"]), labels.weak_map(record))
        layers.cues, layers.center, layers.offset = labels.cues(record), center.cpu(), offset.cpu()
        layers.instances = {"prediction": predicted_masks(model, item), **labels.truth(record)}
        mark_failures(layers.instances, "prediction")
        samples.append(layers)
    return write_sheets(samples, labels.class_names, Path(folder, "predictions"))


def draw_found_cues(
    cfg: CfgNode,
    model: nn.Module,
    labels: KnownLabels,
    cues_of: Callable[[Tensor, dict], tuple[PointCues, Tensor]],
    count: int,
    prefix: str,
) -> list[Path]:
    """Draw ``count`` images spread over a data set, with weak map, activations, sure cues and the
    truth, marked with what they make of it, into ``<prefix>_1.png`` and on; unreadable images are
    left out. Returns the files.

    Args:
        model: a PAM classifier.
        cues_of: from its ``cams`` and an image's input, the cues and the (K, H, W) maps under them.
    """
    mapper, reader = EvaluationMapper(cfg, is_train=False), ImageReader.from_config(cfg, "RGB")
    samples = []
    model.eval()
    for record in tqdm(spread_over(labels.records, count), desc="pictures", leave=False):
        with suppress(InputError):  # has been told before
            item = mapper(record)
            layers = Layers(reader.read(record["file_name"]), tags=item["image_classes"])
            cues, layers.activations = cues_of(model([item])[0]["cams"], item)
            layers.cues = cues[cues.scores > cfg.DATASETS.CUE_THRESHOLD]
            layers.instances = labels.truth(record)
            for truth in layers.instances.values():
                truth.kinds = judge_cues(layers.cues, _objects(truth)).objects.tolist()
            samples.append(layers)
            layers.weak_map = labels.weak_map(record)  # an unreadable one leaves only itself out
    return write_sheets(samples, labels.class_names, prefix)


def draw_taught(
    cfg: CfgNode,
    records: Mapping[str, Sequence[dict]],
    count: int,
    folder: str,
    smallest: Callable[[Mapping], int],
) -> list[str]:
    """Draw what a training would be taught, of ``count`` images spread over its sets, into
    ``<folder>/1-<image stem>.png`` and on; returns each path with the classes of its image.

    Args:
        records: of each set, with all that a training reads of an image.
        smallest: pixels of the smallest instance that counts in an image.
    """
    reader, lines = ImageReader.from_config(cfg, "RGB"), []
    pairs = [(name, record) for name, found in records.items() for record in found]
    for number, (name, record) in enumerate(spread_over(pairs, count), start=1):
        layers = Layers(reader.read(record["file_name"]))
        classes = record.get("image_classes", [])  # Detectron2's own sets have none
        if "sem_seg_file_name" in record:
            path, kept = record["sem_seg_file_name"], record.get(MAP_KEPT)
            weak_map = read_weak_sem_seg(path, num_classes(cfg), kept=kept)
            cues = record["cues"][record["cues"].scores > cfg.DATASETS.CUE_THRESHOLD]
            split_weight = cfg.MODEL.BESTIE.SPLIT_WEIGHT
            transfer = Transfer(min_area=smallest(record), split_weight=split_weight)
            found = _pseudo_instances(record, weak_map, cues, transfer)
            layers.weak_map, layers.cues = weak_map, cues
            layers.instances["pseudo instances"] = found
        elif "annotations" in record:
            layers.instances["masks"] = mask_set(record, record["annotations"])
            classes = np.unique(layers.instances["masks"].classes)
        names = MetadataCatalog.get(name).thing_classes
        path = Path(folder, f"{number}-{Path(record['file_name']).stem}.png")
        Image.fromarray(contact_sheet([draw_layers(layers, names)])).save(path)
        lines.append(f"{path}: {', '.join(names[index] for index in classes) or 'no class'}")
    return lines


def _pseudo_instances(
    record: Mapping, weak_map: np.ndarray, cues: PointCues, transfer: Transfer
) -> MaskSet:
    """What a training would start with: instance labels, or what cues make of components."""
    if "instance_labels" in record:
        labels = record["instance_labels"]
        regions = regions_of_map(labels.draw(size_of(record)), labels.classes)
        found = transfer.label(regions)
    else:
        tags, smallest = record["image_classes"], transfer.min_area
        found = transfer.from_cues(find_components(weak_map, tags, min_area=smallest), cues)
    chosen, components = found.weights > 0, found.components
    return MaskSet(components.masks()[chosen], components.classes[chosen])
