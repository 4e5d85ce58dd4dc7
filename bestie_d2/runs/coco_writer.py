"""Pseudo labels of a data set: from a model's instances to one COCO file, an image at a time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from pycocotools import mask as mask_api
from torch import Tensor

from bestie_d2.errors import InputError
from bestie_d2.evaluation.label_quality import PseudoLabelReport
from bestie_d2.evaluation.truth import ObjectsByImage, encode_masks
from bestie_d2.storage.files import write_json_lists
from bestie_d2.storage.results import ResultShards

SCORE_DECIMALS = 6  # of the scores in the file


@dataclass(frozen=True)
class LabelRecipe:
    """Which of a model's instances become labels.

    Attributes:
        use_tags: instances of classes that their image is not tagged with are left out, where the
            record has ``image_classes``.
        score_threshold: so are those that score lower ...
        min_area: ... those of fewer pixels, at least 1 ...
        top_k: ... and all but so many of an image, the most sure; None keeps them all.
    """

    use_tags: bool
    score_threshold: float
    min_area: int
    top_k: int | None = None

    def choose(
        self, instances: Instances, tags: Collection[int] | None
    ) -> tuple[Tensor, dict[str, int]]:
        """The indices that stay, by falling score, and how many each rule removed, by its name.

        Args:
            instances: ``pred_masks`` (N, H, W) bool, ``pred_classes`` and ``scores``.
            tags: classes of the image; None if they are not known.
        """
        scores = instances.scores.cpu()
        areas = instances.pred_masks.flatten(1).sum(dim=1).cpu()
        left = torch.sort(scores, descending=True, stable=True).indices
        removed = {}
        if self.use_tags and tags is not None:
            tagged = torch.tensor(sorted(tags), dtype=torch.int64)
            left = _keep("tags", left, torch.isin(instances.pred_classes.cpu(), tagged), removed)
        left = _keep("score", left, scores >= self.score_threshold, removed)
        left = _keep("area", left, areas >= self.min_area, removed)
        removed["top-k"] = len(left) - len(left[: self.top_k])
        return left[: self.top_k], removed


def _keep(rule: str, indices: Tensor, good: Tensor, removed: dict[str, int]) -> Tensor:
    """The indices that are good; counts the others."""
    kept = indices[good[indices]]
    removed[rule] = len(indices) - len(kept)
    return kept


@dataclass(frozen=True)
class LabeledDataset:
    """What the file says besides the labels, and what they are measured with.

    Attributes:
        info: the file's ``info``.
        records: of all images, in the order of the file.
        categories: ``id``, the data set's own, and ``name`` of each class in order.
        image_root: the folder that the file's image names are relative to.
        truth: the true objects, where there are any; the file does not depend on them.
    """

    info: Mapping
    records: Sequence[Mapping]
    categories: Sequence[Mapping]
    image_root: str
    truth: ObjectsByImage | None = None

    def image_entry(self, record: Mapping) -> dict:
        """What the file says of an image."""
        name = Path(os.path.relpath(record["file_name"], self.image_root)).as_posix()
        size = {key: record[key] for key in ("height", "width")}
        return {"id": record["image_id"], "file_name": name, **size}


class PseudoLabelWriter(DatasetEvaluator):
    """Turns instances into labels as they come, and all of them into one COCO file at the end.

    Several may work at the same time, in processes of their own, each on other images; one more
    calls :meth:`evaluate` when all are through.
    """

    def __init__(
        self,
        shards: ResultShards,
        recipe: LabelRecipe,
        *,
        worker: int = 0,
        dataset: LabeledDataset | None = None,
    ) -> None:
        """
        Args:
            shards: where the labels of single images are kept until the file is written.
            worker: this writer's number among those that work at the same time.
            dataset: only ``evaluate`` needs it.
        """
        self._shards = shards
        self._recipe = recipe
        self._dataset = dataset
        self._writer = shards.writer(worker)

    def reset(self) -> None:
        """Nothing: what has been done is kept, so that a run can go on."""

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the labels of each input, a record, by the ``instances`` of its output.

        Raises:
            InputError: the model gives no masks.
        """
        for record, output in zip(inputs, outputs, strict=True):
            instances = output.get("instances")
            if instances is None or not instances.has("pred_masks"):
                raise InputError(
                    "the model gives no instances with masks to take for labels; a model of "
                    "Detectron2's needs MODEL.MASK_ON True"
                )
            chosen, removed = self._recipe.choose(instances, record.get("image_classes"))
            labels = _labels(instances, chosen)
            self._writer.append(record["image_id"], {"labels": labels, "removed": removed})

    def evaluate(self) -> PseudoLabelReport:
        """Write the COCO file, whole or not at all, and remove the single images' results.

        Images without a label are in it, those that were left out are not.
        """
        self._writer.close()
        dataset, done = self._dataset, self._shards.done()
        report = PseudoLabelReport(len(dataset.categories), with_truth=dataset.truth is not None)
        images = (dataset.image_entry(r) for r in dataset.records if r["image_id"] in done)
        members = {"info": dataset.info, "images": images, "categories": dataset.categories}
        annotations = self._annotations(report)
        write_json_lists(self._shards.output, {**members, "annotations": annotations})
        self._shards.remove()
        return report

    def _annotations(self, report: PseudoLabelReport) -> Iterable[dict]:
        """The entries of all images, while the report is added up."""
        dataset = self._dataset
        numbers = itertools.count(1)
        for image_id, result in self._shards.merge(r["image_id"] for r in dataset.records):
            truth = None if dataset.truth is None else dataset.truth[image_id]
            report.add(result["labels"], result["removed"], truth)
            for label in result["labels"]:
                category_id = dataset.categories[label["category_id"]]["id"]
                ids = {"id": next(numbers), "image_id": image_id}
                yield {**ids, **label, "category_id": category_id, "iscrowd": 0}


def _labels(instances: Instances, chosen: Tensor) -> list[dict]:
    """What the file says of the chosen instances, but for the ids: classes are ``0..C-1`` here."""
    rles = encode_masks(instances.pred_masks[chosen.to(instances.pred_masks.device)])
    classes = instances.pred_classes.cpu()[chosen].tolist()
    scores = instances.scores.cpu()[chosen].tolist()
    return [
        {
            "category_id": class_id,
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
            "bbox": mask_api.toBbox(rle).tolist(),
            "area": int(mask_api.area(rle)),
            "score": round(score, SCORE_DECIMALS),
        }
        for rle, class_id, score in zip(rles, classes, scores, strict=True)
    ]
