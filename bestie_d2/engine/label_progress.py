"""How right the labels are that BESTIE is taught with, as training goes on (paper: Figure 6)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor

from bestie_d2.data import WeakInstanceMapper
from bestie_d2.data.augmentation import ResizeLongSide
from bestie_d2.errors import InputError
from bestie_d2.evaluation import ObjectsByImage, encode_masks, has_truth, load_truth
from bestie_d2.evaluation.base import PERCENT
from bestie_d2.evaluation.label_quality import PseudoLabelReport, instances_of_targets
from bestie_d2.modeling.heads import InstanceMaps
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.structures import InstanceTargets

PSEUDO, REFINED = "pseudo_labels", "refined_labels"  # of the metrics' names


class LabelProgress:
    """Pseudo and refined labels of some images with known truth, at the size of training.

    Training reads no truth: this measures only.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Raises:
            InputError: ``TEST.LABEL_PROGRESS.DATASET`` has no truth or no weak labels.
        """
        node = cfg.TEST.LABEL_PROGRESS
        if node.DATASET not in DatasetCatalog:
            raise InputError(f"TEST.LABEL_PROGRESS.DATASET: {node.DATASET!r} is not registered")
        if not has_truth(node.DATASET):
            raise InputError(f"TEST.LABEL_PROGRESS.DATASET: {node.DATASET!r} has no true masks")
        records = WeakInstanceMapper.load_records(cfg, node.DATASET)
        count = min(node.IMAGES or len(records), len(records))
        chosen = np.linspace(0, len(records) - 1, count).round().astype(int)
        self._records = [records[index] for index in chosen]
        self._truth: ObjectsByImage = load_truth(node.DATASET)
        self._num_classes = cfg.MODEL.BESTIE.NUM_CLASSES
        resize = ResizeLongSide(cfg.INPUT.BESTIE.LONG_SIDE, [1.0, 1.0], 0.0)
        parts = {**WeakInstanceMapper.from_config(cfg), "augmentations": [resize]}
        self._mapper = WeakInstanceMapper(**parts)

    @torch.no_grad()
    def measure(self, model: BESTIE) -> dict[str, float]:
        """True positives, labels, objects, and in percent precision and recall, of both kinds;
        of the pseudo labels alone where the model refines none.

        Each process looks at its share of the images, so all of them have to come here. The first
        one gets the figures, the others none.
        """
        share = self._records[comm.get_rank() :: comm.get_world_size()]
        gathered = comm.gather([self._taught_labels(model, record) for record in share])
        if not comm.is_main_process():
            return {}
        kinds = (PSEUDO,) if model.criterion.refinement is None else (PSEUDO, REFINED)
        reports = {kind: PseudoLabelReport(self._num_classes, with_truth=True) for kind in kinds}
        for image_id, labels in itertools.chain.from_iterable(gathered):
            for kind, report in reports.items():
                report.add(labels[kind], {}, self._truth[image_id])
        return {
            f"{kind}/{name}": value
            for kind, report in reports.items()
            for name, value in _figures(report).items()
        }

    def _taught_labels(self, model: BESTIE, record: dict) -> tuple[object, dict[str, list[dict]]]:
        """An image's id and its labels of each kind."""
        item, size = self._mapper(record), (record["height"], record["width"])
        return record["image_id"], {
            kind: _as_labels(targets, item["sem_seg"], size)
            for kind, targets in taught_targets(model, item).items()
        }


def taught_targets(model: BESTIE, item: Mapping) -> dict[str, InstanceTargets]:
    """The targets that an image in the form that ``WeakInstanceMapper`` gives is taught with, in
    host memory: ``PSEUDO``, and ``REFINED`` where the model refines."""
    labels = model.weak_labels([item])
    found = {PSEUDO: labels.pseudo}
    if model.criterion.refinement is not None:
        probability, center, offset = model.predict_maps(item["image"])
        logits = probability.clamp(min=torch.finfo(probability.dtype).tiny).log()
        maps = InstanceMaps(logits[None], center[None], offset[None])
        found[REFINED] = model.criterion.refinement(maps, labels)
    return {kind: targets.to("cpu")[0] for kind, targets in found.items()}


def _as_labels(
    targets: InstanceTargets, sem_seg: Tensor, size: tuple[int, int]
) -> list[dict[str, object]]:
    """Labels as ``PseudoLabelReport`` takes them, at the image's own size."""
    masks, classes, weights = instances_of_targets(targets, sem_seg)
    height, width = size
    resized = [
        cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        for mask in masks.numpy().astype(np.uint8)
    ]
    own_size = torch.from_numpy(np.array(resized, dtype=bool).reshape(-1, height, width))
    triples = zip(encode_masks(own_size), classes.tolist(), weights.tolist(), strict=True)
    return [
        {"segmentation": rle, "category_id": class_id, "score": weight}
        for rle, class_id, weight in triples
    ]


def _figures(report: PseudoLabelReport) -> dict[str, float]:
    of = report.quality.figures()
    return {
        "true_positives": of.true_positives,
        "labels": of.labels,
        "objects": of.objects,
        "precision": PERCENT * of.precision,
        "recall": PERCENT * of.recall,
    }


class LabelProgressHook(HookBase):
    """Writes :class:`LabelProgress` to the event storage whenever the model is evaluated."""

    def __init__(self, cfg: CfgNode) -> None:
        self._progress = LabelProgress(cfg)
        self._period = cfg.TEST.EVAL_PERIOD

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        due = done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0)
        if due:
            model = self.trainer.model
            model = getattr(model, "module", model)  # without the wrapper of several processes
            with inference_context(model):
                figures = self._progress.measure(model)
            self.trainer.storage.put_scalars(**figures, smoothing_hint=False)
