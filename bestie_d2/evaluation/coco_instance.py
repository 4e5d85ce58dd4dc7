"""COCO AP, measured with the same true objects as every other figure.

Detectron2's evaluator opens the set's file itself, where pycocotools takes annotation id 0 for "no
match" and one of several objects of an id for all of them.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from pycocotools.coco import COCO

from bestie_d2.detectron2_seam import has_compiled_operators
from bestie_d2.evaluation.truth import ObjectsByImage, load_truth

NOTHING: dict[str, list] = {"images": [], "categories": [], "annotations": []}


class TrueCOCO(COCO):
    """A COCO API of what :func:`load_truth` reads, with crowds; images, categories and annotations
    are numbered from 1. Predictions keep the ids of the data set until they are compared."""

    def __init__(self, dataset_name: str, truth: ObjectsByImage) -> None:
        super().__init__()
        metadata = MetadataCatalog.get(dataset_name)
        names = metadata.thing_classes
        ids = metadata.get("thing_dataset_id_to_contiguous_id") or {c: c for c in range(len(names))}
        image_ids: list[Any] = list(truth)
        if all(isinstance(image_id, int) for image_id in image_ids):
            image_ids.sort()  # as pycocotools does: it ranks predictions of equal score by it
        self._numbers = {
            "image_id": {image_id: number for number, image_id in enumerate(image_ids, start=1)},
            "category_id": {category_id: index + 1 for category_id, index in ids.items()},
        }
        objects = [
            {**item, "image_id": number, "category_id": item["category_id"] + 1}
            for image_id, number in self._numbers["image_id"].items()
            for item in truth[image_id]
        ]
        # All masks are RLE, which have a size of their own; pycocotools looks at this all the same.
        sizes = {"height": None, "width": None}
        self.dataset = {
            "info": {},
            "images": [{"id": n, **sizes} for n in self._numbers["image_id"].values()],
            "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
            "annotations": [{**item, "id": n} for n, item in enumerate(objects, start=1)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            self.createIndex()

    def loadRes(self, results: Sequence[dict]) -> COCO:
        numbered = [
            {**result, **{key: numbers[result[key]] for key, numbers in self._numbers.items()}}
            for result in results
        ]
        return super().loadRes(numbered)


class COCOInstanceEvaluator(COCOEvaluator):
    """Detectron2's evaluator of a registered data set, whatever the ids in its file."""

    def __init__(
        self, dataset_name: str, *, truth: ObjectsByImage | None = None, **others: Any
    ) -> None:
        """``truth`` is what :func:`load_truth` reads, with crowds, if that was done already;
        ``others`` as Detectron2's evaluator takes them, "segm" alone unless ``tasks`` are given."""
        if truth is None:
            truth = load_truth(dataset_name, crowds=True)
        defaults = {"tasks": ("segm",), "use_fast_impl": has_compiled_operators()}
        with TemporaryDirectory() as folder:  # Detectron2 opens a file: one without any object
            empty = str(Path(folder, "nothing.json"))
            Path(empty).write_text(json.dumps(NOTHING))
            MetadataCatalog.get(empty).json_file = empty
            super().__init__(empty, **{**defaults, **others})
            MetadataCatalog.remove(empty)
        self._metadata = MetadataCatalog.get(dataset_name)
        self._coco_api = TrueCOCO(dataset_name, truth)
