"""COCO's instance files: run-length encodings, or polygons for tools that know nothing else.

Definition: https://cocodataset.org/#format-data, and of masks ``pycocotools/mask.py``. Boxes are
x, y, width and height in pixels, areas count pixels; ``score`` is an addition that readers of
annotations pass over and this project's keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from pycocotools import mask as mask_api

from bestie_d2.ops.run_lengths import coco_rle
from bestie_d2.storage.files import write_json_lists
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.outlines import join_holes, trace_parts
from bestie_d2.writers.writer import OneFileWriter, rounded


def annotation_of(rle: dict, class_id: int, score: float) -> dict[str, Any]:
    """What a COCO file says of an object, but for ids; ``category_id`` is the class ``0..C-1``.

    Args:
        rle: of pycocotools, with counts as bytes.
    """
    return {
        "category_id": class_id,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
        "bbox": mask_api.toBbox(rle).tolist(),
        "area": int(mask_api.area(rle)),
        "score": rounded(score),
    }


class CocoWriter(OneFileWriter):
    """``coco.json``, exact for any mask. Categories are numbered from 1, images by their order."""

    format_name = "coco"
    file_name = "coco.json"

    def entry_of(self, image: LabeledImage) -> dict:
        size = {"height": image.height, "width": image.width}
        annotations = [self.annotation(found, image) for found in image.objects]
        return {
            "image": {"id": self.images, "file_name": image.file_name, **size},
            "annotations": annotations,
        }

    def annotation(self, found: ObjectMask, image: LabeledImage) -> dict:
        rle = coco_rle(found, image.height, image.width)
        return annotation_of(rle, found.class_id, found.score)

    def finish(self) -> None:
        names = enumerate(self.class_names, start=1)
        lists: dict[str, Mapping | Iterable[Mapping]] = {
            "info": {"description": "instances that bestie_d2 found"},
            "images": (entry["image"] for entry in self.entries()),
            "categories": [{"id": number, "name": name} for number, name in names],
        }
        write_json_lists(
            self.output / self.file_name, {**lists, "annotations": self._annotations()}
        )

    def _annotations(self) -> Iterator[dict]:
        numbers = count(1)
        for entry in self.entries():
            for found in entry["annotations"]:
                ids = {"id": next(numbers), "image_id": entry["image"]["id"]}
                category_id = found["category_id"] + 1
                yield {**ids, **found, "category_id": category_id, "iscrowd": 0}


class CocoPolygonWriter(CocoWriter):
    """``coco-polygons.json``: a polygon along the borders of pixels for each part, a slit without
    width to each hole, as polygons here cannot have any; pycocotools fills them to the same
    masks."""

    format_name = "coco-polygons"
    file_name = "coco-polygons.json"

    def annotation(self, found: ObjectMask, image: LabeledImage) -> dict:
        parts = trace_parts(found.mask, found.top_left)
        polygons = [join_holes(part).ravel().tolist() for part in parts]
        return {**super().annotation(found, image), "segmentation": polygons}
