"""How right the labels are that BESTIE is taught with, as training goes on (paper: Figure 6)."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor

from bestie_d2.checks.training import read_label_progress
from bestie_d2.data import WeakInstanceMapper
from bestie_d2.data.augmentation import ResizeLongSide
from bestie_d2.evaluation.base import PERCENT
from bestie_d2.evaluation.failures import all_counts
from bestie_d2.evaluation.label_quality import PseudoLabelReport, instances_of_targets
from bestie_d2.evaluation.truth import predicted_objects
from bestie_d2.modeling.heads import InstanceMaps
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.pictures.dataset import spread_over
from bestie_d2.structures import InstanceTargets

PSEUDO, REFINED = "pseudo_labels", "refined_labels"  # of the metrics' names


class LabelProgress(HookBase):
    """Pseudo and refined labels of some images with known truth, at the size of training; written
    to the event storage whenever the model is evaluated. Training reads no truth."""

    def __init__(self, cfg: CfgNode) -> None:
        """Refuses a ``TEST.LABEL_PROGRESS.DATASET`` without truth or weak labels."""
        records, self._truth = read_label_progress(cfg)
        self._records = spread_over(records, cfg.TEST.LABEL_PROGRESS.IMAGES or len(records))
        self._num_classes = cfg.MODEL.BESTIE.NUM_CLASSES
        self._period = cfg.TEST.EVAL_PERIOD
        resize = ResizeLongSide(cfg.INPUT.BESTIE.LONG_SIDE, [1.0, 1.0], 0.0)
        parts = {**WeakInstanceMapper.from_config(cfg), "augmentations": [resize]}
        self._mapper = WeakInstanceMapper(**parts)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0):
            model = self.trainer.model
            model = getattr(model, "module", model)  # without the wrapper of several processes
            with inference_context(model):
                figures = self.measure(model)
            self.trainer.storage.put_scalars(**figures, smoothing_hint=False)

    @torch.no_grad()
    def measure(self, model: BESTIE) -> dict[str, float]:
        """True positives, labels, objects, in percent precision and recall, and failures by kind,
        of both; of the pseudo labels alone where the model refines none. Each process looks at its
        share of the images, so all have to come here; the first one gets the figures, the others
        none."""
        share = self._records[comm.get_rank() :: comm.get_world_size()]
        gathered = comm.gather([self._taught_labels(model, record) for record in share])
        kinds = (PSEUDO,) if model.criterion.refinement is None else (PSEUDO, REFINED)
        figures: dict[str, float] = {}
        for kind in kinds if comm.is_main_process() else ():
            report = PseudoLabelReport(self._num_classes, with_truth=True)
            for image_id, labels in itertools.chain.from_iterable(gathered):
                report.add(labels[kind], {}, self._truth[image_id])
            of = report.figures()
            found = {name: getattr(of, name) for name in ("true_positives", "labels", "objects")}
            found |= {"precision": PERCENT * of.precision, "recall": PERCENT * of.recall}
            found |= all_counts(report.failures)
            figures |= {f"{kind}/{name}": value for name, value in found.items()}
        return figures

    def _taught_labels(self, model: BESTIE, record: dict) -> tuple[object, dict[str, list[dict]]]:
        """An image's id and its labels of each kind."""
        item, size = self._mapper(record), (record["height"], record["width"])
        targets = taught_targets(model, item)
        found = {kind: _as_labels(of, item["sem_seg"], size) for kind, of in targets.items()}
        return record["image_id"], found


def taught_targets(model: BESTIE, item: dict) -> dict[str, InstanceTargets]:
    """The targets that an image in the form that ``WeakInstanceMapper`` gives is taught with, in
    host memory: ``PSEUDO``, and ``REFINED`` where the model refines."""
    labels = model.weak_labels([item])
    found = {PSEUDO: labels.pseudo}
    refine: Any = model.criterion.refinement
    if refine is not None:
        probability, center, offset = model.predict_maps(item["image"])
        logits = probability.clamp(min=torch.finfo(probability.dtype).tiny).log()
        found[REFINED] = refine(InstanceMaps(logits[None], center[None], offset[None]), labels)
    return {kind: targets.to("cpu")[0] for kind, targets in found.items()}


def _as_labels(targets: InstanceTargets, sem_seg: Tensor, size: tuple[int, int]) -> list[dict]:
    """Labels as ``PseudoLabelReport`` takes them, at the image's size (height, width)."""
    masks, classes, weights = instances_of_targets(targets, sem_seg)
    resized = np.zeros((len(masks), *size), np.uint8)
    for mask, target in zip(masks.numpy().astype(np.uint8), resized, strict=True):
        cv2.resize(mask, size[::-1], dst=target, interpolation=cv2.INTER_NEAREST)
    found = torch.from_numpy(resized).bool()
    return predicted_objects(found, classes.tolist(), weights.tolist())
