"""COCO AP, measured with the same true objects as every other figure.

Detectron2's evaluator opens the set's file itself, where pycocotools takes annotation id 0 for "no
match" and one of several objects of an id for all of them.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from pycocotools.coco import COCO

from bestie_d2.detectron2_seam import has_compiled_operators
from bestie_d2.evaluation.truth import ObjectsByImage, load_truth

NOTHING = {"images": [], "categories": [], "annotations": []}


class TrueCOCO(COCO):
    """A COCO API of true objects, with images, categories and annotations numbered from 1.

    Results keep the ids of the data set until they are compared.
    """

    def __init__(
        self,
        dataset: dict[str, list[dict]],
        images: Mapping[Hashable, int],
        categories: Mapping[Hashable, int],
    ) -> None:
        """
        Args:
            dataset: content of a COCO file.
            images, categories: number of each of the data set's own ids.
        """
        super().__init__()
        self.dataset = dataset
        self._numbers = {"image_id": images, "category_id": categories}
        with contextlib.redirect_stdout(io.StringIO()):
            self.createIndex()

    def loadRes(self, results: Sequence[Mapping]) -> COCO:
        """An API of predictions that have the data set's own ids."""
        numbered = [
            {**result, **{key: ids[result[key]] for key, ids in self._numbers.items()}}
            for result in results
        ]
        return super().loadRes(numbered)


def true_coco(dataset_name: str, truth: ObjectsByImage) -> TrueCOCO:
    """The API of a registered data set.

    Args:
        truth: what :func:`load_truth` reads, with crowds.
    """
    metadata = MetadataCatalog.get(dataset_name)
    names = metadata.thing_classes
    own_ids = metadata.get("thing_dataset_id_to_contiguous_id") or {c: c for c in range(len(names))}
    images = {image_id: number for number, image_id in enumerate(_in_order(truth), start=1)}
    annotations = [
        {**item, "image_id": number, "category_id": item["category_id"] + 1}
        for image_id, number in images.items()
        for item in truth[image_id]
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    dataset = {
        "info": {},
        # All masks are RLE, which have a size of their own; pycocotools looks at this all the same.
        "images": [{"id": number, "height": None, "width": None} for number in images.values()],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
        "annotations": annotations,
    }
    return TrueCOCO(dataset, images, {own: index + 1 for own, index in own_ids.items()})


def _in_order(image_ids: Collection[Hashable]) -> list[Hashable]:
    """As pycocotools has them, for predictions of equal score are ranked by it: by number."""
    numbers = all(isinstance(image_id, int) for image_id in image_ids)
    return sorted(image_ids) if numbers else list(image_ids)


class COCOInstanceEvaluator(COCOEvaluator):
    """Detectron2's evaluator of a registered data set, whatever the ids in its file."""

    def __init__(
        self, dataset_name: str, *, truth: ObjectsByImage | None = None, **others: object
    ) -> None:
        """
        Args:
            truth: what :func:`load_truth` reads, with crowds, if that was done already.
            others: as Detectron2's evaluator takes them; "segm" alone unless ``tasks`` are given.

        Raises:
            InputError: the data set is not registered, or comes without any truth.
        """
        if truth is None:
            truth = load_truth(dataset_name, crowds=True)
        defaults = {"tasks": ("segm",), "use_fast_impl": has_compiled_operators()}
        with _set_without_objects() as name:
            super().__init__(name, **{**defaults, **others})
        self._metadata = MetadataCatalog.get(dataset_name)
        self._coco_api = true_coco(dataset_name, truth)


@contextlib.contextmanager
def _set_without_objects() -> Iterator[str]:
    """The name of a set that Detectron2's evaluator can open; for as long as it does."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "nothing.json")
        path.write_text(json.dumps(NOTHING))
        name = str(path)
        MetadataCatalog.get(name).json_file = name
        try:
            yield name
        finally:
            MetadataCatalog.remove(name)
