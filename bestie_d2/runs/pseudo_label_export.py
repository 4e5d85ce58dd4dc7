"""Pseudo labels of a data set: a trained model's instances, in one COCO file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from torch import Tensor

from bestie_d2.data.labels.attach import attach_points
from bestie_d2.errors import InputError
from bestie_d2.evaluation import has_truth, load_truth
from bestie_d2.evaluation.label_quality import PseudoLabelReport
from bestie_d2.evaluation.tasks import INSTANCES, task_of
from bestie_d2.evaluation.truth import ObjectsByImage, encode_masks
from bestie_d2.model_keys import with_keys
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.storage.files import hash_of_folder, write_json_lists
from bestie_d2.storage.results import Results
from bestie_d2.writers.coco_writer import annotation_of

DESCRIPTION = "pseudo labels: what a model that was trained on weak labels makes of these images"
DETECTIONS = "TEST.DETECTIONS_PER_IMAGE"  # the one key outside MODEL and INPUT: Detectron2's models


@dataclass(frozen=True)
class LabelRecipe:
    """Which of a model's instances become labels."""

    use_tags: bool  # leave out classes that an image, where its tags are known, is not tagged with
    score_threshold: float  # and what scores lower
    min_area: int  # and what has fewer pixels; at least 1
    top_k: int | None = None  # and all but so many of an image, the most sure

    def choose(
        self, instances: Instances, tags: Collection[int] | None
    ) -> tuple[Tensor, dict[str, int]]:
        """The indices that stay, by falling score, and how many each rule removed, by its name.

        Args:
            instances: ``pred_masks`` (N, H, W) bool, ``pred_classes`` and ``scores``.
        """
        scores = instances.scores.cpu()
        areas = instances.pred_masks.flatten(1).sum(dim=1).cpu()
        left = torch.sort(scores, descending=True, stable=True).indices
        rules = {"score": scores >= self.score_threshold, "area": areas >= self.min_area}
        if self.use_tags and tags is not None:
            tagged = torch.tensor(sorted(tags), dtype=torch.int64)
            rules = {"tags": torch.isin(instances.pred_classes.cpu(), tagged), **rules}
        removed = {}
        for rule, good in rules.items():
            kept = left[good[left]]
            removed[rule] = len(left) - len(kept)
            left = kept
        removed["top-k"] = len(left) - len(left[: self.top_k])
        return left[: self.top_k], removed


def export_pseudo_labels(
    run: LabelingRun, output: str, recipe: LabelRecipe, *, overwrite: bool = False
) -> PseudoLabelReport:
    """Label all images and write the labels to one file; goes on where a run was stopped.

    The file is replaced when all else has succeeded; images without a label are in it, those that
    were left out are not.
    """
    if task_of(run.cfg) is not INSTANCES:
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {run.cfg.MODEL.META_ARCHITECTURE!r}, which finds no "
            "instances; pseudo labels come from BESTIE or a model of Detectron2's"
        )
    image_root = MetadataCatalog.get(run.dataset_name).get("image_root")
    if not image_root:
        raise InputError(
            f"data set {run.dataset_name!r} has no image_root in its metadata: the folder that "
            "image names in the file are relative to"
        )
    run = replace(run, cfg=with_keys(run.cfg, {"MODEL.BESTIE.TEST.USE_TAGS": recipe.use_tags}))
    model = {**run.settings(), DETECTIONS: str(run.cfg.TEST.DETECTIONS_PER_IMAGE)}
    rules = asdict(recipe)
    use_tags = rules.pop("use_tags") and any("image_classes" in record for record in run.records)
    points = {}
    if run.cfg.MODEL.BESTIE.TEST.USE_POINTS:
        path, records = _with_points(run)
        run, points = replace(run, records=records), {"points": hash_of_folder(path)}
    info = {  # the same on every machine and at any time
        "description": DESCRIPTION,
        "dataset": run.dataset_name,
        "weights": model["weights"],  # SHA-256 of the file
        "untagged_classes_removed": use_tags,
        **rules,
        **points,  # SHA-256 of what they were read from
        "config": {key: value for key, value in model.items() if "." in key},
    }
    settings = {**model, **asdict(recipe), **points}
    work = partial(labels_of, recipe=recipe)
    with run.labeled(output, settings, work, "labels", overwrite=overwrite) as results:
        truth = load_truth(run.dataset_name) if has_truth(run.dataset_name) else None
        return write_label_file(run, output, info, image_root, results, truth)


def _with_points(run: LabelingRun) -> tuple[str, list[dict]]:
    """What ``attach_points`` finds for the run; refused of models that make no use of them."""
    key, cfg = "MODEL.BESTIE.TEST.USE_POINTS", run.cfg
    if cfg.MODEL.META_ARCHITECTURE != "BESTIE" or cfg.MODEL.BESTIE.SUPERVISION != "points":
        raise InputError(f"{key} needs BESTIE, with MODEL.BESTIE.SUPERVISION 'points'")
    keys = cfg.DATASETS
    return attach_points(run.dataset_name, run.records, keys.CUES, keys.CUE_THRESHOLD)


def labels_of(record: Mapping, output: Mapping, *, recipe: LabelRecipe) -> dict:
    """What is kept of an image: what the file says of the chosen ``instances``, but for the ids
    (classes are ``0..C-1`` here), and how many were left out."""
    instances = output.get("instances")
    if instances is None or not instances.has("pred_masks"):
        raise InputError(
            "the model gives no instances with masks to take for labels; a model of "
            "Detectron2's needs MODEL.MASK_ON True"
        )
    chosen, removed = recipe.choose(instances, record.get("image_classes"))
    kept = instances[chosen.to(instances.scores.device)]
    objects = (encode_masks(kept.pred_masks), kept.pred_classes.tolist(), kept.scores.tolist())
    labels = [annotation_of(*found) for found in zip(*objects, strict=True)]
    return {"labels": labels, "removed": removed}


def write_label_file(
    run: LabelingRun,
    output: str,
    info: Mapping[str, Any],
    image_root: str,
    results: Results,
    truth: ObjectsByImage | None = None,
) -> PseudoLabelReport:
    """Write the COCO file, whole or not at all, and report what is in it; image names in it are
    relative to the folder ``image_root``. It does not depend on the true objects."""
    report = PseudoLabelReport(len(run.categories), with_truth=truth is not None)

    def name_of(record: dict) -> str:
        return Path(os.path.relpath(record["file_name"], image_root)).as_posix()

    def annotations() -> Iterator[dict[str, Any]]:
        numbers = itertools.count(1)
        for image_id, result in results.of(record["image_id"] for record in run.records):
            objects = None if truth is None else truth[image_id]
            report.add(result["labels"], result["removed"], objects)
            for label in result["labels"]:
                ids = {"id": next(numbers), "image_id": image_id}
                category_id = run.categories[label["category_id"]]["id"]
                yield {**ids, **label, "category_id": category_id, "iscrowd": 0}

    lists = run.lists(results, name_of)
    write_json_lists(output, {"info": info, **lists, "annotations": annotations()})
    return report
