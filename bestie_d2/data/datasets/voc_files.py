"""The files that a prepared VOC split consists of, filled image by image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data.datasets.object_map import ObjectMap
from bestie_d2.data.datasets.voc import VOC_CLASSES, voc_image_id
from bestie_d2.data.labels.cue_files import GIVEN_SCORE
from bestie_d2.pictures.colors import index_palette

CATEGORIES = [{"id": index + 1, "name": name} for index, name in enumerate(VOC_CLASSES)]


@dataclass(frozen=True)
class VocImage:
    """An image with its labels.

    Attributes:
        tags: contiguous classes that its XML names.
        objects: its true objects.
        class_map: path of VOC's own class PNG; None where the objects are SBD's.
    """

    stem: str
    height: int
    width: int
    tags: frozenset[int]
    objects: ObjectMap
    class_map: str | None

    def entry(self) -> dict:
        """What ``images`` of a JSON says of it."""
        size = {"height": self.height, "width": self.width}
        return {"id": voc_image_id(self.stem), "file_name": f"{self.stem}.jpg", **size}


@dataclass
class CocoFile:
    """A COCO-style JSON in the making."""

    description: str
    images: list[dict] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)

    def add_objects(self, image: VocImage) -> None:
        """Add an image with its objects; ``void`` of its entry is what belongs to none (RLE)."""
        void = image.objects.void()
        self.images.append(image.entry() | ({"void": void} if void else {}))
        for annotation in image.objects.annotations():
            rle = annotation["segmentation"]
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": voc_image_id(image.stem),
                    "category_id": CATEGORIES[annotation["category_id"]]["id"],
                    "segmentation": rle,
                    "bbox": mask_api.toBbox(rle).tolist(),
                    "area": int(mask_api.area(rle)),
                    "iscrowd": 0,
                }
            )

    def add_tags(self, image: VocImage, classes: Iterable[int]) -> None:
        """Add an image with the categories of some classes and nothing else."""
        self.images.append(image.entry())
        image_id = voc_image_id(image.stem)
        self.annotations += [
            {"image_id": image_id, "category_id": CATEGORIES[class_id]["id"]}
            for class_id in sorted(set(classes))
        ]

    def write(self, path: Path) -> None:
        """Write the JSON; text is in ASCII, which every reader understands."""
        content = {
            "info": {"description": self.description},
            "images": self.images,
            "categories": CATEGORIES,
            "annotations": self.annotations,
        }
        path.write_text(json.dumps(content), encoding="ascii")


def write_points(image: VocImage, folder: Path) -> None:
    """Write a point for each object in the authors' text form, ``x y class score`` a line."""
    lines = [f"{x} {y} {label} {GIVEN_SCORE:g}\n" for x, y, label in image.objects.points()]
    (folder / f"{image.stem}.txt").write_text("".join(lines), encoding="ascii")


def write_class_map(image: VocImage, folder: Path) -> None:
    """Write the true class map: a copy of VOC's own, or one drawn from SBD's objects."""
    path = folder / f"{image.stem}.png"
    if image.class_map is not None:
        shutil.copyfile(image.class_map, path)
        return
    drawn = Image.fromarray(image.objects.semantic())
    drawn.putpalette(index_palette())
    drawn.save(path)
