"""True objects: whatever their ids, those that can be used are read, and the others are told."""

from __future__ import annotations

import json
import logging
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.errors import InputError
from bestie_d2.evaluation import load_truth
from bestie_d2.evaluation.truth import encode_masks, read_truth

ALL = {1: [0, 1, 0], 2: [1, 0]}  # classes of the objects of a.png and b.png, as they are drawn

# Changes to the first object of a.png, which has 4x6 pixels, and what is said of it.
BAD = [
    ({"segmentation": {"size": [4, 6]}}, "a.png): its RLE has the 'counts' None, expected runs"),
    ({"segmentation": {"size": [4, 6], "counts": "0"}}, "a.png): the counts of its RLE are not"),
    ({"segmentation": {"size": [6, 4], "counts": [0, 24]}}, "a.png): its mask is [6, 4], its "),
    ({"segmentation": [[0, 0, 2, 2]]}, "a.png): a polygon of 4 numbers, expected x, y of three"),
    ({"segmentation": [[0, 0, 2, 2, 1]]}, "a.png): a polygon of 5 numbers, expected x, y of three"),
    ({"segmentation": [[0, 0, 2, 0, 2, float("nan")]]}, "a.png): a polygon is [0, 0, 2, 0, 2, nan"),
    ({"category_id": 99}, "annotations[0]: category id 99 is not in the file's list"),
    ({"image_id": "x"}, "annotations[0]: image id 'x' is not in the file's list"),
]
EMPTY = [
    {"segmentation": []},
    {"segmentation": None},
    {"segmentation": [[]]},
    {"segmentation": {"size": [4, 6], "counts": [24]}},
    {"segmentation": {"size": [4, 6], "counts": []}},
    {"segmentation": [[1.2, 1.4, 2.2, 1.4, 4.2, 1.4]]},  # on a line
    {"segmentation": [[-9, -9, -5, -9, -5, -5]]},  # outside
]


def classes(truth: dict) -> dict:
    return {image_id: [o["category_id"] for o in objects] for image_id, objects in truth.items()}


@pytest.fixture
def tags(drawn_truth, tmp_path) -> str:
    """Tags as the truth gives them before a test changes it."""
    path = tmp_path / "tags.json"
    path.write_text(json.dumps(drawn_truth))
    return str(path)


@pytest.fixture(params=[False, True], ids=["truth alone", "with tags"])
def registered(scene, tags, request):
    """Registers a truth, alone or beside tags; returns the set's name."""
    more = {"tags": tags} if request.param else {}
    return lambda truth: scene(truth, **more)


@pytest.mark.parametrize(("change", "line"), BAD)
def test_one_bad_object_is_left_out_and_named(registered, drawn_truth, caplog, change, line):
    drawn_truth["annotations"][0] |= change
    assert classes(load_truth(registered(drawn_truth))) == {1: [1, 0], 2: [1, 0]}
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "truth.json: 1 of 5 objects cannot be used and are left out: annotations[0]" in told[-1]
    assert line in told[-1]


def test_more_than_one_bad_object_in_ten_is_refused(registered, drawn_truth):
    for entry in drawn_truth["annotations"][:2]:
        entry["segmentation"] = "none"
    line = r"truth\.json: 2 of 5 objects cannot be used: annotations\[0\] \(image a.png\): its mask"
    with pytest.raises(InputError, match=line):
        load_truth(registered(drawn_truth))


@pytest.mark.parametrize("change", EMPTY)
def test_objects_without_a_pixel_are_left_out_and_counted(registered, drawn_truth, change):
    for entry in drawn_truth["annotations"][:2]:
        entry |= change
    truth = read_truth(registered(drawn_truth))
    assert classes(truth.objects) == {1: [0], 2: [1, 0]}
    assert truth.notices[0].endswith("truth.json: 2 objects without a pixel are left out")
    assert len(truth.notices) == 1


def test_not_one_object_with_a_pixel(registered, drawn_truth):
    for entry in drawn_truth["annotations"]:
        del entry["segmentation"]
    with pytest.raises(InputError, match="none of its 5 objects has a pixel"):
        load_truth(registered(drawn_truth))


def test_areas_and_boxes_of_the_file_or_else_of_the_mask(registered, drawn_truth):
    first, second, third, *_ = drawn_truth["annotations"]
    first["area"] = 3.5
    second["area"], second["bbox"] = "4", [1]
    del third["area"], third["bbox"]
    a = load_truth(registered(drawn_truth))[1]
    assert [item["area"] for item in a] == [3.5, 4, 4]
    assert [item["bbox"] for item in a] == [[0, 0, 2, 2], [0, 3, 4, 1], [4, 0, 2, 2]]


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(1, 1), (True, 1), ("1", 1), ("true", 1), (0, 0), (None, 0), (False, 0), ("0", 0), ("", 0)],
)
def test_crowds_in_any_spelling(registered, drawn_truth, value, crowd):
    drawn_truth["annotations"][0]["iscrowd"] = value
    del drawn_truth["annotations"][1]["iscrowd"]
    name = registered(drawn_truth)
    assert [item["iscrowd"] for item in load_truth(name, crowds=True)[1]] == [crowd, 0, 0]
    assert len(load_truth(name)[1]) == 3 - crowd


def test_other_numbers_of_images_and_categories_than_the_tags_have(scene, drawn_truth, tags):
    drawn_truth["categories"] = [{"id": "0", "name": "dog"}, {"id": "x", "name": "cat"}]
    for entry in drawn_truth["annotations"]:
        entry["image_id"] = {1: "2", 2: "1"}[entry["image_id"]]
        entry["category_id"] = {3: "x", 7: "0"}[entry["category_id"]]
    first, second = drawn_truth["images"]
    first |= {"id": 2, "file_name": "./a.png"}
    second |= {"id": 1, "file_name": "b.jpg"}
    truth = read_truth(scene(drawn_truth, tags=tags))
    assert classes(truth.objects) == ALL
    assert truth.notices == []


def test_images_that_one_file_alone_has(scene, drawn_truth, tags):
    drawn_truth["images"][1]["file_name"] = "c.png"
    truth = read_truth(scene(drawn_truth, tags=tags))
    assert classes(truth.objects) == {1: [0, 1, 0], 2: []}
    missing, more, objects = truth.notices
    assert "1 of the set's 2 images are not in it and count as without objects, first " in missing
    assert more.endswith("1 of its 2 images are not in the set and passed over")
    assert objects.endswith("2 objects of images not in the set passed over")


def test_ids_decide_where_no_name_is_known(scene, drawn_truth, tags):
    for image in drawn_truth["images"]:
        image["file_name"] = f"upload-{image['id']}.png"
    truth = read_truth(scene(drawn_truth, tags=tags))
    assert classes(truth.objects) == ALL
    assert truth.notices[0].endswith("has the name of one of the set; matched by their ids")


def test_tags_of_a_table(scene, drawn_truth, tmp_path):
    (tmp_path / "tags.csv").write_text("file_name,tags\nb.png,cat;dog\na.png,dog;cat\n")
    for stem, size in (("a", (6, 4)), ("b", (4, 4))):
        Image.new("RGB", size).save(tmp_path / f"{stem}.png")
    truth = read_truth(scene(drawn_truth, tags=str(tmp_path / "tags.csv")))
    assert classes(truth.objects) == {1: ALL[2], 2: ALL[1]}
    assert truth.notices == []


@pytest.mark.parametrize("area", [0, -4, 1e30])
def test_areas_that_nobody_has_measured_are_those_of_the_masks(registered, drawn_truth, area):
    drawn_truth["annotations"][0]["area"] = area
    assert load_truth(registered(drawn_truth))[1][0]["area"] == 4


def test_the_same_object_twice_counts_once_and_is_told(registered, drawn_truth):
    drawn_truth["annotations"].append({**drawn_truth["annotations"][0], "id": 99})
    truth = read_truth(registered(drawn_truth))
    assert classes(truth.objects) == ALL
    (line,) = truth.notices
    assert line.endswith("1 object given twice, with the same class and mask, is counted once")


@pytest.mark.parametrize("part", [[], [1, 1], [1, 1, 3, 3]])
def test_points_and_lines_beside_a_polygon_are_passed_over(registered, drawn_truth, part):
    first = drawn_truth["annotations"][0]
    first["segmentation"] = [[0, 0, 2, 0, 2, 2, 0, 2], part]
    truth = read_truth(registered(drawn_truth))
    assert classes(truth.objects) == ALL
    assert mask_api.area(truth.objects[1][0]["segmentation"]) == 4
    assert truth.notices == []


def test_a_corner_so_far_away_that_it_cannot_be_drawn(registered, drawn_truth):
    drawn_truth["annotations"][0]["segmentation"] = [[0, 0, 1e12, 0, 4, 4]]
    (line,) = read_truth(registered(drawn_truth)).notices
    assert "a.png): a polygon has a corner at 1e+12, expected pixels" in line


def test_an_unknown_crowd_value_leaves_out_its_object_alone(registered, drawn_truth):
    drawn_truth["annotations"][0]["iscrowd"] = "perhaps"
    truth = read_truth(registered(drawn_truth))
    assert classes(truth.objects) == {1: [1, 0], 2: [1, 0]}
    assert "'iscrowd' is 'perhaps', expected 0 or 1" in truth.notices[0]


def test_truth_without_objects_is_told(registered, drawn_truth):
    (line,) = read_truth(registered({**drawn_truth, "annotations": []})).notices
    assert line.endswith("truth.json: no object in any image of the set: AP is no number")


def test_truth_of_other_images_is_refused(scene, drawn_truth, tags):
    for number, image in enumerate(drawn_truth["images"]):
        image |= {"id": f"other {number}", "file_name": f"other_{number}.png"}
    drawn_truth["annotations"] = []
    with pytest.raises(InputError, match=r"truth\.json: none of the 2 images of the set is in it"):
        read_truth(scene(drawn_truth, tags=tags))


def test_masks_are_encoded_one_at_a_time():
    masks = torch.rand(99, 200, 300, generator=torch.Generator().manual_seed(0)) > 0.99
    masks[0], masks[1] = False, True
    tracemalloc.start()
    found = encode_masks(masks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == mask_api.encode(np.asfortranarray(masks.byte().permute(1, 2, 0).numpy()))
    assert peak < 2 * 2**20  # of 6 MiB
    assert encode_masks(masks[:0]) == []
