"""The pseudo labels that a run exported, by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from bestie_d2.data.labels.coco_json import IMAGE_LISTS, category_indices, load_json
from bestie_d2.pictures.dataset import mask_set
from bestie_d2.pictures.drawing import MaskSet

ANNOTATION_KEYS = ("image_id", "category_id", "segmentation", "score")


@dataclass(frozen=True)
class ExportedLabels:
    """A file of pseudo labels.

    Attributes:
        images: how many it has.
        by_image: labels of each image that has any, with contiguous ``category_id``.
    """

    images: int
    by_image: dict[Hashable, list[dict]]

    @staticmethod
    def read(path: str, class_names: list[str]) -> ExportedLabels:
        """Read a file that a run exported.

        Raises:
            InputError: it is none, or has other classes.
        """
        data = load_json(path, {**IMAGE_LISTS, "annotations": ANNOTATION_KEYS})
        contiguous = category_indices(path, data, class_names)
        by_image = defaultdict(list)
        for label in data["annotations"]:
            label["category_id"] = contiguous[label["category_id"]]
            by_image[label["image_id"]].append(label)
        return ExportedLabels(len(data["images"]), dict(by_image))

    def masks_of(self, record: dict) -> MaskSet:
        return mask_set(record, self.by_image.get(record["image_id"], []))
