"""Objects out of class maps and points, by eye."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data import register_weak_dataset
from bestie_d2.data.datasets import masks_from_points
from bestie_d2.data.datasets.masks_from_points import objects_of_class_map, write_instances
from bestie_d2.structures import PointCues

V = 255
CLASS_MAP = [  # classes 0 and 1; void between two objects of class 0, and a part of one above
    [1, 1, 0, 0, 0, 0, 0, 2, 2],
    [0, 0, 0, 0, 0, 0, 0, 2, 2],
    [1, 1, 1, V, 1, 1, 1, 0, 0],
    [1, 1, 1, V, 1, 1, 1, 0, 2],
]


@pytest.fixture(autouse=True)
def _small_objects(monkeypatch):
    monkeypatch.setattr(masks_from_points, "MIN_AREA", 2)


def points_of(*rows: tuple[float, float, int]) -> PointCues:
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 3)
    return PointCues(values[:, :2], values[:, 2].long(), torch.ones(len(values)))


def drawn(points: PointCues) -> tuple[list[list[int]], dict[int, int]]:
    found = objects_of_class_map(np.array(CLASS_MAP, np.uint8), points, [0, 1])
    return found.numbers.tolist(), dict(found.classes)


def test_parts_go_to_the_nearest_point_and_touching_objects_are_parted():
    numbers, classes = drawn(points_of((2, 1, 0), (2, 4, 0), (3, 6, 0)))
    assert numbers == [
        [1, 1, 0, 0, 0, 0, 0, 4, 4],  # a part of the first; an object without a point
        [0, 0, 0, 0, 0, 0, 0, 4, 4],
        [1, 1, 1, 0, 2, 2, 3, 0, 0],
        [1, 1, 1, 0, 2, 3, 3, 0, 0],  # the last pixel of class 1 is too small for one
    ]
    assert classes == {1: 0, 2: 0, 3: 0, 4: 1}


def test_a_point_beside_its_object():
    numbers, classes = drawn(points_of((2, 3, 0), (2, 1, 1)))
    assert numbers[2] == [1, 1, 1, 0, 1, 1, 1, 0, 0]
    assert numbers[0] == [1, 1, 0, 0, 0, 0, 0, 2, 2]
    assert numbers[3][8] == 2  # a part of the only object of its class
    assert classes == {1: 0, 2: 1}


def test_without_points_components_are_objects():
    numbers, classes = drawn(points_of())
    assert numbers[0] == [1, 1, 0, 0, 0, 0, 0, 4, 4]
    assert numbers[2] == [2, 2, 2, 0, 3, 3, 3, 0, 0]
    assert classes == {1: 0, 2: 0, 3: 0, 4: 1}


def test_the_file(tmp_path: Path, new_name):
    for folder in ("images", "maps"):
        (tmp_path / folder).mkdir()
    class_map = Image.fromarray(np.array(CLASS_MAP, np.uint8))
    class_map.save(tmp_path / "maps" / "a.png")
    class_map.save(tmp_path / "images" / "a.png")
    image = {"id": 7, "file_name": "a.png", "height": 4, "width": 9}
    head = {"images": [image], "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}
    tags = [{"image_id": 7, "category_id": 1}, {"image_id": 7, "category_id": 2}]
    (tmp_path / "tags.json").write_text(json.dumps({**head, "annotations": tags}))
    point = {"image_id": 7, "category_id": 1, "point": [1, 2]}  # x, y
    (tmp_path / "points.json").write_text(json.dumps({**head, "points": [point]}))
    paths = {name: str(tmp_path / name) for name in ("images", "maps", "points.json", "out.json")}
    name = new_name()
    register_weak_dataset(name, images=paths["images"], tags=str(tmp_path / "tags.json"))
    said = write_instances(name, paths["maps"], paths["points.json"], paths["out.json"])
    assert said == f"2 objects of 1 images, by 1 points: {paths['out.json']}"
    content = json.loads((tmp_path / "out.json").read_text())
    assert (content["images"], content["categories"]) == ([image], head["categories"])
    first, second = content["annotations"]
    masks = [mask_api.decode(entry["segmentation"]) for entry in (first, second)]
    values = np.array(CLASS_MAP)
    assert (masks[0] == (values == 1)).all()
    assert masks[1].tolist()[0] == [0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert (first["category_id"], first["area"], second["category_id"]) == (1, 14, 2)
    assert (first["image_id"], second["bbox"]) == (7, [7, 0, 2, 2])
