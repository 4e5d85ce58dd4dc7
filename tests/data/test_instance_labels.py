from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as mask_api

from bestie_d2.data.instance_labels import MAX_INSTANCES, InstanceLabels, attach_instance_labels
from bestie_d2.errors import InputError

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


def test_as_many_as_a_map_can_tell_apart(tmp_path):
    scores = np.linspace(0, 1, MAX_INSTANCES + 1)
    path = write(tmp_path, *(entry(rle(0), score=score) for score in scores))
    labels = attach_instance_labels(RECORDS, path, ["cat", "dog"])[0]["instance_labels"]
    assert len(labels.classes) == len(labels.rles) == 254
    assert labels.draw((3, 4)).max() == 254


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
