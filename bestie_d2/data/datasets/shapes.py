"""The embedded synthetic set: drawn on first use, so that every stage can be tried in minutes.

``shapes_train`` has tags and simulated cues, ``shapes_train_point`` given points, ``shapes_val``
the truth. All three have weak maps, as imperfect as real ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from bestie_d2.data.datasets.object_masks import coco_annotation, coco_categories
from bestie_d2.data.datasets.shapes_drawing import (
    CLASSES,
    IMAGE_SIZE,
    XS,
    YS,
    Scene,
    draw_scene,
    to_pixel,
    value_noise,
)
from bestie_d2.data.datasets.weak import register_weak_dataset
from bestie_d2.data.paths import ROOT_VARIABLE
from bestie_d2.errors import InputError
from bestie_d2.storage.files import staged

VERSION = "v1"  # of the drawing; a changed drawing gets a new one, and thus a new folder
SEED = 2022
TRAIN_IMAGES, VAL_IMAGES = 400, 80
SPLITS = {
    "train": range(1, TRAIN_IMAGES + 1),
    "val": range(TRAIN_IMAGES + 1, TRAIN_IMAGES + VAL_IMAGES + 1),
}
PALETTE = (0, 0, 0, 230, 120, 110, 110, 180, 230, 250, 210, 80, 140, 210, 130)  # RGB by WSSS index

WOBBLE_CELLS, WOBBLE_PIXELS = 9, 7.0  # of the weak map's borders
MISSED_CELLS, MISSED_BELOW = 11, 0.12
NO_CUE, TWO_CUES = 0.06, 0.05  # chances of an object
CUE_JITTER = 2.0  # pixels around the emblem
CUE_SCORES = (0.5, 1.0)
POINT_JITTER = 0.2  # radii around the centroid


def register_shapes(root: str) -> None:
    """Register the synthetic sets, which draw themselves into ``root/shapes`` on first use."""
    folder = os.path.join(root, "shapes", VERSION)

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


def _draw_split(folder: Path, split: str, image_ids: Iterable[int]) -> None:
    """Write the images, the weak maps, and the four JSON files of a split."""
    images_folder, maps_folder = folder / "images" / split, folder / "weak_maps" / split
    images_folder.mkdir(parents=True)
    maps_folder.mkdir(parents=True)
    images: list[dict] = []
    truth: list[dict] = []
    points: list[dict] = []
    cues: list[dict] = []
    for image_id in image_ids:
        rng, name = np.random.default_rng([SEED, image_id]), f"{image_id:06d}.png"
        scene = draw_scene(rng)
        # grain hardly compresses
        Image.fromarray(scene.image).save(images_folder / name, compress_level=1)
        weak_map = Image.fromarray(_weaken(rng, scene.semantic()))
        weak_map.putpalette(PALETTE)
        weak_map.save(maps_folder / name)
        size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        images.append({"id": image_id, "file_name": name, **size})
        cues += [{"image_id": image_id, **cue} for cue in _simulate_cues(rng, scene)]
        points += [{"image_id": image_id, **point} for point in _pick_points(rng, scene)]
        for shape, mask in scene.visible():
            truth.append(coco_annotation(len(truth) + 1, image_id, shape.label, mask))
    tags = sorted({(entry["image_id"], entry["category_id"]) for entry in truth})
    for name, key, entries in (
        ("instances", "annotations", truth),
        ("tags", "annotations", [{"image_id": i, "category_id": c} for i, c in tags]),
        ("points", "points", points),
        ("cues", "points", cues),
    ):
        content = {"images": images, "categories": coco_categories(CLASSES), key: entries}
        (folder / f"{name}_{split}.json").write_text(json.dumps(content))


# -- weak labels


def _weaken(rng: np.random.Generator, semantic: np.ndarray) -> np.ndarray:
    """(H, W) uint8 WSSS indices with wobbly borders and missed pieces."""
    dy, dx = (WOBBLE_PIXELS * (value_noise(rng, WOBBLE_CELLS) - 0.5) for _ in range(2))
    ys, xs = (np.clip(np.round(at), 0, IMAGE_SIZE - 1).astype(int) for at in (YS + dy, XS + dx))
    weak = semantic[ys, xs]
    weak[value_noise(rng, MISSED_CELLS) < MISSED_BELOW] = 0
    return weak


def _simulate_cues(rng: np.random.Generator, scene: Scene) -> Iterator[dict]:
    """Cues as a classifier gives them: most objects one near the emblem, some none or two."""
    for shape, visible in scene.visible():
        chance = rng.random()
        if chance >= NO_CUE:
            yield _cue(rng, shape.emblem_yx, shape.label)
        if chance > 1 - TWO_CUES:
            yield _cue(rng, _centroid(visible), shape.label)


def _cue(rng: np.random.Generator, yx: Iterable[float], label: int) -> dict:
    (y, x), jitter = yx, CUE_JITTER * (2 * rng.random(2) - 1)
    low, high = CUE_SCORES
    score = round(float(low + (high - low) * max(rng.random(3))), 3)
    point = [to_pixel(x + jitter[0]), to_pixel(y + jitter[1])]
    return {"category_id": label + 1, "point": point, "score": score}


def _pick_points(rng: np.random.Generator, scene: Scene) -> Iterator[dict]:
    """One point in the visible part of each object, near its centroid, as a person would click."""
    for shape, visible in scene.visible():
        y, x = _centroid(visible) + POINT_JITTER * shape.radius * (2 * rng.random(2) - 1)
        distance = np.where(visible, (YS - y) * (YS - y) + (XS - x) * (XS - x), np.inf)
        row, column = divmod(int(distance.argmin()), IMAGE_SIZE)
        yield {"category_id": shape.label + 1, "point": [column, row]}


def _centroid(mask: np.ndarray) -> np.ndarray:
    """(y, x) mean; sums of whole numbers, thus exact."""
    return np.array([axis.sum() / len(axis) for axis in mask.nonzero()])
