"""Weak maps, cues and points, tags: small files with literal answers, and every refusal."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from bestie_d2.data.labels.cue_files import read_cues
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.tags import read_tags
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError

CLASSES = ("cat", "dog")
MAP = [[0, 1, 1], [2, 255, 0]]


def refuses(*parts: str):
    """One line that holds all parts, in order."""
    return pytest.raises(InputError, match="^[^\n]*" + "[^\n]*".join(map(re.escape, parts)) + ".*$")


# -- weak maps


def test_grey_map(tmp_path, write_png):
    array = read_weak_sem_seg(write_png(tmp_path / "a.png", MAP), num_classes=2, size=(2, 3))
    assert array.dtype == np.uint8
    assert array.tolist() == MAP


def test_palette_map_gives_indices_not_colors(tmp_path):
    image = Image.fromarray(np.array(MAP, np.uint8))
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200] + [255] * 3 * 253)
    image.save(tmp_path / "a.png")
    assert read_weak_sem_seg(tmp_path / "a.png", num_classes=2).tolist() == MAP


def test_one_bit_map(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_weak_sem_seg(tmp_path / "a.png", num_classes=1).tolist() == [[1, 0]]


def test_map_refusals(tmp_path, write_png):
    path = write_png(tmp_path / "a.png", MAP)
    with refuses("none.png", "no such file"):
        read_weak_sem_seg(tmp_path / "none.png", 2)
    with refuses("a.png", "2x3", "4x3"):
        read_weak_sem_seg(path, 2, size=(4, 3))
    with refuses("a.png", "index 2", "0..1 or 255"):
        read_weak_sem_seg(path, 1)
    with refuses("rgb.png", "mode RGB"):
        read_weak_sem_seg(write_png(tmp_path / "rgb.png", np.zeros((2, 2, 3))), 2)
    (tmp_path / "text.png").write_text("not a picture")
    with refuses("text.png", "not a readable PNG"):
        read_weak_sem_seg(tmp_path / "text.png", 2)
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    with refuses("cut.png", "not a readable PNG"):
        read_weak_sem_seg(tmp_path / "cut.png", 2)


# -- cues and points


def cue_file() -> dict:
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 10, "width": 20},
            {"id": 9, "file_name": "b.jpg", "height": 10, "width": 20},
        ],
        "categories": [{"id": 30, "name": "dog"}, {"id": 18, "name": "cat"}],
        "points": [
            {"image_id": 7, "category_id": 30, "point": [19, 0], "score": 0.5},
            {"image_id": 7, "category_id": 18, "point": [3, 9]},
        ],
    }


def test_json_cues_turn_to_yx(tmp_path, write_json):
    cues = read_cues(write_json(tmp_path / "cues.json", cue_file()), classes=CLASSES)
    assert list(cues) == ["a", "b"]
    assert cues["a"].yx.tolist() == [[0, 19], [9, 3]]
    assert cues["a"].classes.tolist() == [1, 0]
    assert cues["a"].classes.dtype == torch.int64
    assert cues["a"].scores.tolist() == [0.5, 1]
    assert len(cues["b"]) == 0


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"point": [20.5, 0]}, ("a.jpg", "(20.5, 0)", "outside", "10x20")),
        ({"point": [0, -2]}, ("a.jpg", "(0, -2)", "outside")),
        ({"point": [0]}, ("points[0]", "[x, y]")),
        ({"point": ["left", "top"]}, ("points[0]", "[x, y]")),
        ({"image_id": 8}, ("points[0]", "image id 8")),
        ({"category_id": 31}, ("points[0]", "category id 31")),
    ],
)
def test_json_cue_refusals(tmp_path, write_json, change, parts):
    content = cue_file()
    content["points"][0].update(change)
    with refuses("cues.json", *parts):
        read_cues(write_json(tmp_path / "cues.json", content), classes=CLASSES)


def test_json_file_refusals(tmp_path, write_json):
    content = cue_file()
    path = write_json(tmp_path / "cues.json", content)
    with refuses("cues.json", "'dog'", "cat, cow"):
        read_cues(path, classes=("cat", "cow"))
    with refuses("cues.json", "a.jpg", "10x20", "20x40"):
        read_cues(path, classes=CLASSES, sizes={"a": (20, 40)})
    with refuses("none.json", "No such file"):
        read_cues(str(tmp_path / "none.json"), classes=CLASSES)
    (tmp_path / "broken.json").write_text("{")
    with refuses("broken.json", "not a JSON file"):
        read_cues(str(tmp_path / "broken.json"), classes=CLASSES)
    content["images"][1]["file_name"] = "a.png"
    with refuses("cues.json", "two images", "'a'"):
        read_cues(write_json(tmp_path / "cues.json", content), classes=CLASSES)
    del content["points"][1]["point"]
    with refuses("cues.json", "points[1]", "'point'"):
        read_cues(write_json(tmp_path / "cues.json", content), classes=CLASSES)
    del content["points"]
    with refuses("cues.json", "'points'"):
        read_cues(write_json(tmp_path / "cues.json", content), classes=CLASSES)


def test_text_cues(tmp_path):
    (tmp_path / "a.txt").write_text("19 0 1 0.5\n3 9 0\n\n")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "of_another_set.txt").write_text("not read")
    cues = read_cues(str(tmp_path), classes=CLASSES, sizes={"a": (10, 20), "b": (10, 20)})
    assert list(cues) == ["a", "b"]
    assert cues["a"].yx.tolist() == [[0, 19], [9, 3]]
    assert cues["a"].classes.tolist() == [1, 0]
    assert cues["a"].scores.tolist() == [0.5, 1]
    assert len(cues["b"]) == 0


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("3 9", ("line 2", "'x y class [score]'", "'3 9'")),
        ("3 9 cat", ("line 2", "'x y class [score]'")),
        ("3 9 2 0.5", ("line 2", "class 2", "0..1")),
        ("3 9 0.5 0.5", ("line 2", "class 0.5")),
        ("3 11 0 0.5", ("(3, 11)", "outside")),
        ("nan 3 0 0.5", ("line 2", "finite numbers", "'nan 3 0 0.5'")),
    ],
)
def test_text_cue_refusals(tmp_path, line, parts):
    (tmp_path / "a.txt").write_text(f"0 0 0\n{line}\n")
    with refuses("a.txt", *parts):
        read_cues(str(tmp_path), classes=CLASSES, sizes={"a": (10, 20)})


# -- tags


def tag_file() -> dict:
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 10, "width": 20},
            {"id": 9, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 30, "name": "dog"}, {"id": 18, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 30},
            {"image_id": 7, "category_id": 18},
            {"image_id": 7, "category_id": 30},
        ],
    }


def test_json_tags_go_by_sorted_category_ids(tmp_path, write_json):
    tagged = read_tags(write_json(tmp_path / "tags.json", tag_file()))
    assert tagged.classes == ["cat", "dog"]
    assert tagged.category_ids == [18, 30]
    assert tagged.records == [
        {"file_name": "a.jpg", "image_id": 7, "height": 10, "width": 20, "image_classes": [0, 1]},
        {"file_name": "b.jpg", "image_id": 9, "image_classes": []},
    ]


def test_points_are_tags_too(tmp_path, write_json):
    tagged = read_tags(write_json(tmp_path / "points.json", cue_file()))
    assert [record["image_classes"] for record in tagged.records] == [[0, 1], []]


def test_given_order_of_classes(tmp_path, write_json):
    tagged = read_tags(write_json(tmp_path / "tags.json", tag_file()), ("dog", "cat"))
    assert tagged.category_ids == [30, 18]


def test_csv_tags(tmp_path):
    (tmp_path / "tags.csv").write_text("file_name,tags\na.jpg,dog;cat\nb.jpg,\nc.jpg,dog\n")
    tagged = read_tags(str(tmp_path / "tags.csv"))
    assert tagged.classes == ["cat", "dog"]
    assert tagged.category_ids == [1, 2]
    assert tagged.records[0] == {"file_name": "a.jpg", "image_id": 1, "image_classes": [0, 1]}
    assert [record["image_classes"] for record in tagged.records] == [[0, 1], [], [1]]


def test_tag_refusals(tmp_path, write_json):
    csv = tmp_path / "tags.csv"
    csv.write_text("a.jpg,dog;cow\n")
    with refuses("tags.csv", "'cow'", "a.jpg", "cat, dog"):
        read_tags(str(csv), CLASSES)
    with refuses("none.csv", "No such file"):
        read_tags(str(tmp_path / "none.csv"))

    def refuses_json(change: dict, *parts: str, classes: tuple | None = None) -> None:
        with refuses("tags.json", *parts):
            read_tags(write_json(tmp_path / "tags.json", tag_file() | change), classes)

    refuses_json({"annotations": [{"image_id": 7, "category_id": 5}]}, "category id 5")
    refuses_json({"annotations": [{"image_id": 5, "category_id": 18}]}, "image id 5")
    refuses_json({"annotations": None}, "neither 'annotations' nor 'points'")
    one, other = {"id": 1, "name": "x"}, {"id": 2, "name": "x"}
    refuses_json({"categories": [one, other]}, "two categories have the same name (x, x)")
    refuses_json({"categories": [one, {**one, "name": "y"}]}, "have the same id (1, 1)")
    for wrong in ("a", True, 1.5, [1]):
        ids = f"the ids of its categories are {[1, wrong]}, expected whole numbers"
        refuses_json({"categories": [one, {"id": wrong, "name": "y"}]}, ids)
    refuses_json({"images": [{"id": 1}]}, "images[0]", "'file_name'")
    refuses_json({}, "cat, dog", "cat, cow", classes=("cat", "cow"))


# -- paths


def test_paths_expand(monkeypatch):
    monkeypatch.setenv("HOME", "/me")
    monkeypatch.setenv("MINE", "/mine")
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    assert expand_path("~/a") == "/me/a"
    assert expand_path("$MINE/a/${MINE}") == "/mine/a//mine"
    assert expand_path("$DETECTRON2_DATASETS/a") == "datasets/a"
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data")
    assert expand_path("$DETECTRON2_DATASETS/a") == "/data/a"
    with refuses("$NOT_THERE/a", "NOT_THERE is not set"):
        expand_path("$NOT_THERE/a")
