"""Lists as other tools write them: byte order marks, sizes, ids and crowds in other forms."""

from __future__ import annotations

import json

import pytest

from bestie_d2.data import read_cues, read_tags
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, load_json
from bestie_d2.errors import InputError


def lists(**changes: object) -> dict:
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 1}],
        **changes,
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_mark_is_passed_over(tmp_path, encoding):
    (tmp_path / "tags.json").write_text(json.dumps(lists()), encoding=encoding)
    assert load_json(str(tmp_path / "tags.json"), IMAGE_LISTS) == lists()


@pytest.mark.parametrize("name", ["\ud83d", "\udc08 cat"])
def test_half_a_letter_is_refused_and_a_whole_one_read(tmp_path, write_json, name):
    categories = [{"id": 1, "name": name}]
    with pytest.raises(InputError, match=r"tags\.json: not a JSON file .*surrogates"):
        read_tags(write_json(tmp_path / "tags.json", lists(categories=categories)))
    categories = [{"id": 1, "name": "\U0001f408"}]  # of two halves in JSON
    read = read_tags(write_json(tmp_path / "tags.json", lists(categories=categories)))
    assert list(read.classes) == ["\U0001f408"]


@pytest.mark.parametrize("score", [1e39, -1e39, 10**400])
def test_a_score_that_float32_cannot_hold_is_refused(tmp_path, write_json, score):
    point = {"image_id": 1, "category_id": 1, "point": [3, 4], "score": score}
    path = write_json(tmp_path / "cues.json", lists(points=[point]))
    with pytest.raises(InputError, match=r"points\[0\]: expected finite numbers"):
        read_cues(path, classes=("cat",), sizes={"a": (20, 30)})


@pytest.mark.parametrize("value", [20, 20.0, "20", "20.0"])
def test_sizes_become_whole_numbers(tmp_path, write_json, value):
    image = {"id": 1, "file_name": "a.png", "height": value, "width": 30}
    (record,) = read_tags(write_json(tmp_path / "tags.json", lists(images=[image]))).records
    assert (repr(record["height"]), record["width"]) == ("20", 30)


@pytest.mark.parametrize("value", [0, -1, 20.5, "wide", True, None, 2**20 + 1])
def test_what_is_no_size_is_refused(tmp_path, write_json, value):
    image = {"id": 1, "file_name": "a.png", "height": value, "width": 30}
    with pytest.raises(InputError, match=r"images\[0\]: 'height' is .*, expected pixels"):
        read_tags(write_json(tmp_path / "tags.json", lists(images=[image])))


@pytest.mark.parametrize(("image_id", "own"), [("1", 1), (1, "1"), (1.0, "1"), ("a", "a")])
def test_ids_are_matched_as_text_and_as_numbers(tmp_path, write_json, image_id, own):
    image = {"id": image_id, "file_name": "a.png"}
    entry = {"image_id": own, "category_id": "1"}
    tagged = read_tags(
        write_json(tmp_path / "tags.json", lists(images=[image], annotations=[entry]))
    )
    expected = "a" if own == "a" else 1
    assert [(r["image_id"], r["image_classes"]) for r in tagged.records] == [(expected, [0])]


def test_one_id_as_text_and_as_number_is_refused(tmp_path, write_json):
    images = [{"id": "1", "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
    with pytest.raises(InputError, match=r"images\[1\]: another image has the id '1'"):
        read_tags(write_json(tmp_path / "tags.json", lists(images=images)))
    images[1]["id"] = "01"  # a name, not the number
    assert len(read_tags(write_json(tmp_path / "tags.json", lists(images=images))).records) == 2
    for wrong in (None, [1], True):
        with pytest.raises(InputError, match=r"images\[0\]: its id is .*, expected a number or"):
            read_tags(
                write_json(
                    tmp_path / "tags.json", lists(images=[{"id": wrong, "file_name": "a.png"}])
                )
            )
    entries = [{"image_id": [1], "category_id": 1}]
    path = write_json(tmp_path / "tags.json", lists(annotations=entries))
    with pytest.raises(InputError, match=r"image id '\[1\]' is not in 'images'"):
        read_tags(path)


def test_text_ids_of_numbers_are_in_the_order_of_numbers(tmp_path, write_json):
    categories = [{"id": n, "name": f"kind {n}"} for n in ("10", "2", "1")]
    tagged = read_tags(write_json(tmp_path / "tags.json", lists(categories=categories)))
    assert tagged.classes == ["kind 1", "kind 2", "kind 10"]
    assert tagged.category_ids == [1, 2, 10]


@pytest.mark.parametrize(
    ("value", "tags"),
    [(1, []), ("1", []), (True, []), ("0", [0]), (0.0, [0]), (False, [0]), (None, [0])],
)
def test_crowds_give_no_tag_and_are_told(tmp_path, write_json, value, tags):
    entry = {"image_id": 1, "category_id": 1, "iscrowd": value}
    path = write_json(tmp_path / "tags.json", lists(annotations=[entry]))
    tagged = read_tags(path)
    assert tagged.records[0]["image_classes"] == tags
    told = f"{path}: 1 annotations are crowds (iscrowd) and give no tag; by that 1 of 1 images lose"
    assert [line.startswith(told) for line in tagged.remarks] == [True] * (not tags)


def test_what_is_no_crowd_is_refused(tmp_path, write_json):
    entry = {"image_id": 1, "category_id": 1, "iscrowd": "some"}
    with pytest.raises(InputError, match=r"annotations\[0\]: 'iscrowd' is 'some', expected 0 or 1"):
        read_tags(write_json(tmp_path / "tags.json", lists(annotations=[entry])))


def test_a_parent_without_annotations_is_no_class_unless_it_is_named(tmp_path, write_json):
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "cell", "supercategory": "cells"},
    ]
    path = write_json(tmp_path / "tags.json", lists(categories=categories))
    tagged = read_tags(path)
    assert (tagged.classes, tagged.category_ids) == (["cell"], [1])
    assert tagged.remarks == [
        f"{path}: category 'cells' is no class: it is the parent (supercategory) of others, and no "
        "image has it"
    ]
    assert read_tags(path, ("cell", "cells")).category_ids == [1, 0]
    points = [{"image_id": 1, "category_id": 1, "point": [3, 4]}]
    cues = write_json(tmp_path / "cues.json", lists(categories=categories, points=points))
    assert read_cues(cues, classes=["cell"])["a"].yx.tolist() == [[4, 3]]
    entries = [{"image_id": 1, "category_id": 0}]
    path = write_json(tmp_path / "tags.json", lists(categories=categories, annotations=entries))
    assert read_tags(path).classes == ["cells", "cell"]


def test_categories_that_differ_by_letter_case_are_told(tmp_path, write_json):
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "Cat"}]
    path = write_json(tmp_path / "tags.json", lists(categories=categories))
    (line,) = read_tags(path).remarks
    assert line.startswith(f"{path}: the categories 'cat' and 'Cat' differ by letter case")


def test_a_class_that_is_its_own_supercategory_stays(tmp_path, write_json):
    categories = [{"id": 1, "name": "person", "supercategory": "person"}]
    tagged = read_tags(
        write_json(tmp_path / "tags.json", lists(categories=categories, annotations=[]))
    )
    assert tagged.classes == ["person"]


def test_ids_of_many_digits_stay_apart(tmp_path, write_json):
    images = [{"id": 2**53 + n, "file_name": f"{n}.png"} for n in (0, 1)]
    entries = [{"image_id": 2**53 + 1, "category_id": 1}]
    path = write_json(tmp_path / "tags.json", lists(images=images, annotations=entries))
    tags = [
        (record["image_id"] - 2**53, record["image_classes"]) for record in read_tags(path).records
    ]
    assert tags == [(0, []), (1, [0])]


@pytest.mark.parametrize("name", ["background", "_background_", "__ignore__"])
def test_a_background_that_no_image_has_is_no_class(tmp_path, write_json, name):
    categories = [{"id": 0, "name": name}, {"id": 1, "name": "cat"}]
    path = write_json(tmp_path / "tags.json", lists(categories=categories))
    tagged = read_tags(path)
    assert tagged.classes == ["cat"]
    assert tagged.remarks == [f"{path}: category {name!r} is no class: no image has it"]
    entries = [{"image_id": 1, "category_id": 0}]
    path = write_json(tmp_path / "tags.json", lists(categories=categories, annotations=entries))
    assert read_tags(path).classes == [name, "cat"]


def test_a_list_without_end_is_no_json_file(tmp_path):
    (tmp_path / "tags.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"tags\.json: not a JSON file"):
        read_tags(str(tmp_path / "tags.json"))
