from __future__ import annotations

import json

import numpy as np
import pytest
from detectron2.data import transforms as T
from pycocotools import mask as mask_api

from bestie_d2.data.augmentation import PadCropTransform
from bestie_d2.data.labels import instance_files
from bestie_d2.data.labels.instance_files import (
    InstanceLabels,
    attach_instance_labels,
    move_instance_map,
)
from bestie_d2.errors import InputError
from bestie_d2.ops.components import regions_of_map

RECORDS = [
    {"file_name": "images/a.jpg", "height": 3, "width": 4},
    {"file_name": "images/b.jpg", "height": 3, "width": 4},
]


def rle(*columns: int, height: int = 3) -> dict:
    """A mask of whole columns of a map of four."""
    mask = np.zeros((height, 4), np.uint8, order="F")
    mask[:, columns] = 1
    encoded = mask_api.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def write(tmp_path, *annotations: dict, name: str = "sub/a.png") -> str:
    content = {
        "images": [{"id": 7, "file_name": name}, {"id": 8, "file_name": "of_another_set.png"}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 9, "name": "cat"}],
        "annotations": list(annotations),
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    return str(path)


def entry(segmentation: object, category_id: int = 5, image_id: int = 7, **more: object) -> dict:
    more = {"image_id": image_id, "category_id": category_id, **more}
    return {**more, "segmentation": segmentation}


def test_the_better_one_covers_the_other(tmp_path):
    path = write(
        tmp_path,
        entry(rle(0, 1), score=0.9),
        entry(rle(1, 2), 9, score=0.4),
        entry(rle(3), image_id=8),
    )
    first, second = attach_instance_labels(RECORDS, path, ["cat", "dog"])
    assert first["instance_labels"].classes == [0, 1]
    assert first["instance_labels"].draw((3, 4)).tolist() == [[2, 2, 1, 0]] * 3
    assert second["instance_labels"].draw((3, 4)).tolist() == [[0, 0, 0, 0]] * 3
    assert "instance_labels" not in RECORDS[0]


def test_more_instances_than_a_byte_can_tell_apart(tmp_path):
    columns = [0] * 298 + [1, 2]
    scores = np.linspace(0, 1, 300)
    path = write(tmp_path, *(entry(rle(k), score=s) for k, s in zip(columns, scores, strict=True)))
    labels = attach_instance_labels(RECORDS, path, ["cat", "dog"])[0]["instance_labels"]
    assert len(labels.classes) == len(labels.rles) == 300
    drawn = labels.draw((3, 4))
    assert drawn.dtype == np.uint16
    assert drawn.tolist() == [[298, 299, 300, 0]] * 3
    found = regions_of_map(drawn, labels.classes)
    assert found.masks().any(axis=0).tolist() == [[True, True, True, False]] * 3
    assert found.areas.tolist() == [3, 3, 3]


def test_more_instances_than_two_bytes_can_tell_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(instance_files, "MAX_INSTANCES", 2)
    path = write(tmp_path, *[entry(rle(0))] * 3)
    with pytest.raises(InputError, match=r"a\.jpg has 3 of them, at most 2 in a picture"):
        attach_instance_labels(RECORDS, path, ["cat", "dog"])


@pytest.mark.parametrize("padding", [0, 255])
def test_a_wide_map_moves_as_a_weak_map_does(padding):
    """Resized, padded, cropped and flipped by the same rules, whatever the number of instances."""
    narrow = np.random.default_rng(0).integers(0, 255, (37, 53)).astype(np.uint8)
    transforms = T.TransformList(
        [
            T.ResizeTransform(37, 53, 50, 29),
            PadCropTransform(-5, 3, 48, [0, 0, 0], padding),
            T.HFlipTransform(48),
        ]
    )
    small = move_instance_map(narrow, transforms)
    wide = move_instance_map(narrow.astype(np.uint16), transforms)
    high = move_instance_map(narrow.astype(np.uint16) + 300, transforms)
    outside = wide == padding * 257
    assert outside[:, :22].all()
    assert outside[:5].all()
    assert (wide[5:, 22:] == small[5:, 22:]).all()
    assert (high[5:, 22:] == small[5:, 22:].astype(int) + 300).all()


def test_no_instance():
    assert InstanceLabels().draw((2, 2)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"annotations": [entry([[0, 0, 1, 1, 2, 2]])]}, "of image 7 is no compressed run-length"),
        (
            {"annotations": [entry(rle(0, height=2))]},
            "a.jpg: its mask is [2, 4], its image [3, 4] (height",
        ),
        ({"annotations": [entry({**rle(0), "counts": "0"})]}, "a.jpg: the counts of its RLE are"),
        ({"annotations": [entry(rle(0), score=None)]}, "annotations[0]: 'score' is None, expected"),
        ({"annotations": [entry(rle(0), score="1")]}, "annotations[0]: 'score' is '1', expected"),
        ({"annotations": [entry(rle(0), score=np.nan)]}, "[0]: 'score' is nan, expected a number"),
        ({"annotations": [entry(rle(0), image_id=9)]}, "[0]: image id 9 is not in 'images'"),
        ({"annotations": [entry(rle(0), 1)]}, "[0]: category id 1 is not in 'categories'"),
        ({"name": "c.png"}, "labels.json: none of the data set's images is in it"),
    ],
)
def test_a_wrong_file_is_refused(changes, line, tmp_path):
    path = write(tmp_path, *changes.get("annotations", []), name=changes.get("name", "a.png"))
    with pytest.raises(InputError) as told:
        attach_instance_labels(RECORDS, path, ["cat", "dog"])
    assert line in str(told.value)


def test_images_of_one_stem_are_matched_by_their_path(tmp_path):
    records = [
        {**RECORDS[0], "file_name": f"images/{day}/a.png", "label_name": f"{day}/a"}
        for day in ("day 1", "day 2")
    ]
    path = write(tmp_path, entry(rle(0)), name="day 2\\a.png")
    first, second = attach_instance_labels(records, path, ["cat", "dog"])
    assert (first["instance_labels"].classes, second["instance_labels"].classes) == ([], [1])
    with pytest.raises(InputError, match="none of the data set's images is in it"):
        attach_instance_labels(
            records, write(tmp_path, entry(rle(0)), name="a.png"), ["cat", "dog"]
        )
