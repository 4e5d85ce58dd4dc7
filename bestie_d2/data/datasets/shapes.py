"""The embedded synthetic set: drawn on first use, so that every stage can be tried in minutes.

``shapes_train`` has tags and simulated cues, ``shapes_train_point`` given points, ``shapes_val``
the truth. All three have weak maps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data.datasets.shapes_geometry import CLASSES, IMAGE_SIZE
from bestie_d2.data.datasets.shapes_scenes import (
    Cue,
    Scene,
    draw_scene,
    pick_points,
    simulate_cues,
    weaken_map,
)
from bestie_d2.data.datasets.weak import register_weak_dataset
from bestie_d2.data.paths import ROOT_VARIABLE
from bestie_d2.errors import InputError
from bestie_d2.storage.files import staged

SHAPES_FOLDER = "shapes"
VERSION = "v1"  # of the drawing; a changed drawing gets a new one, and thus a new folder
SEED = 2022
TRAIN_IMAGES, VAL_IMAGES = 400, 80
SPLITS = {
    "train": range(1, TRAIN_IMAGES + 1),
    "val": range(TRAIN_IMAGES + 1, TRAIN_IMAGES + VAL_IMAGES + 1),
}
PALETTE = (0, 0, 0, 230, 120, 110, 110, 180, 230, 250, 210, 80, 140, 210, 130)  # RGB by WSSS index
PNG_OPTIONS = {"compress_level": 1}  # grain hardly compresses


def register_shapes(root: str) -> None:
    """Register the synthetic sets, which draw themselves into ``root/shapes`` on first use."""
    folder = os.path.join(root, SHAPES_FOLDER, VERSION)

    def register(name: str, split: str, **labels: str) -> None:
        register_weak_dataset(
            name,
            images=os.path.join(folder, "images", split),
            weak_maps=os.path.join(folder, "weak_maps", split),
            annotations=os.path.join(folder, f"instances_{split}.json"),
            classes=CLASSES,
            prepare=lambda: draw_shapes(folder),
            **{key: os.path.join(folder, file) for key, file in labels.items()},
        )

    register("shapes_train", "train", tags="tags_train.json", cues="cues_train.json")
    register("shapes_train_point", "train", points="points_train.json")
    register("shapes_val", "val", cues="cues_val.json")


def draw_shapes(folder: str | os.PathLike) -> None:
    """Draw the whole set into ``folder`` unless it is there (a few seconds).

    It is drawn elsewhere and moved, so a folder is never seen half full and several processes may
    start at once: the first to finish wins.

    Raises:
        InputError: the folder can't be written.
    """
    folder = Path(folder)
    if folder.is_dir():
        return
    try:
        with staged(folder.parent) as scratch:
            for split, image_ids in SPLITS.items():
                _draw_split(scratch / folder.name, split, image_ids)
    except InputError as error:
        if not folder.is_dir():
            raise InputError(
                f"{folder}: the synthetic set can't be drawn there ({error}); set "
                f"{ROOT_VARIABLE} to a folder that can be written"
            ) from None


def scene_generator(image_id: int) -> np.random.Generator:
    """The source of everything random about one image."""
    return np.random.default_rng([SEED, image_id])


def _draw_split(folder: Path, split: str, image_ids: Iterable[int]) -> None:
    images_folder, maps_folder = folder / "images" / split, folder / "weak_maps" / split
    images_folder.mkdir(parents=True)
    maps_folder.mkdir(parents=True)
    images, truth, points, cues = [], [], [], []
    for image_id in image_ids:
        rng = scene_generator(image_id)
        scene = draw_scene(rng)
        name = f"{image_id:06d}.png"
        Image.fromarray(scene.image).save(images_folder / name, **PNG_OPTIONS)
        weak_map = Image.fromarray(weaken_map(rng, scene.semantic()))
        weak_map.putpalette(PALETTE)
        weak_map.save(maps_folder / name)
        images.append(
            {"id": image_id, "file_name": name, "height": IMAGE_SIZE, "width": IMAGE_SIZE}
        )
        cues += _to_entries(image_id, simulate_cues(rng, scene))
        points += _to_entries(image_id, pick_points(rng, scene))
        truth += _to_annotations(image_id, scene, len(truth) + 1)
    _write_labels(folder, split, images, truth, points, cues)


def _write_labels(
    folder: Path,
    split: str,
    images: list[dict],
    truth: list[dict],
    points: list[dict],
    cues: list[dict],
) -> None:
    """Write the four JSON files of a split; given points go without a score."""
    tags = sorted({(entry["image_id"], entry["category_id"]) for entry in truth})
    given = [{key: point[key] for key in ("image_id", "category_id", "point")} for point in points]
    files = {
        "instances": {"annotations": truth},
        "tags": {"annotations": [{"image_id": i, "category_id": c} for i, c in tags]},
        "points": {"points": given},
        "cues": {"points": cues},
    }
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    for name, entries in files.items():
        content = {"images": images, "categories": categories, **entries}
        (folder / f"{name}_{split}.json").write_text(json.dumps(content))


def _to_entries(image_id: int, cues: list[Cue]) -> list[dict]:
    return [
        {"image_id": image_id, "category_id": label + 1, "point": [x, y], "score": score}
        for x, y, label, score in cues
    ]


def _to_annotations(image_id: int, scene: Scene, first_id: int) -> list[dict]:
    annotations = []
    for number, shape in enumerate(scene.shapes):
        mask = scene.instances == number + 1
        rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
        annotations.append(
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": shape.label + 1,
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
                "bbox": mask_api.toBbox(rle).tolist(),
                "area": int(mask.sum()),
                "iscrowd": 0,
            }
        )
    return annotations
