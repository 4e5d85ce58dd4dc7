"""Attaching weak labels: what a record gains, and every check made before training."""

import logging

import numpy as np
import pytest

from bestie_d2.data import attach_weak_labels, load_weak_records, register_weak_dataset
from bestie_d2.errors import InputError

CLASSES = ("cat", "dog")


def cue_file() -> dict:
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 2, "width": 3},
            {"id": 2, "file_name": "b.png", "height": 2, "width": 3},
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
        "points": [
            {"image_id": 1, "category_id": 6, "point": [2, 0], "score": 0.8},
            {"image_id": 1, "category_id": 5, "point": [1, 1], "score": 0.7},
            {"image_id": 2, "category_id": 5, "point": [0, 1], "score": 0.6},
        ],
    }


@pytest.fixture
def inputs(tmp_path, write_png, write_json) -> dict:
    """Two images of 2x3 pixels, their maps and cues, as the arguments of the function."""
    records = []
    for number, stem in enumerate("ab", start=1):
        write_png(tmp_path / "maps" / f"{stem}.png", np.zeros((2, 3)))
        image = write_png(tmp_path / "images" / f"{stem}.png", np.zeros((2, 3, 3)))
        records.append({"file_name": image, "image_id": number, "height": 2, "width": 3})
    cues = write_json(tmp_path / "cues.json", cue_file())
    maps = str(tmp_path / "maps")
    return {"records": records, "weak_maps": maps, "cues": cues} | {
        "classes": CLASSES,
        "num_classes": 2,
    }


def refused(inputs: dict, match: str, **changes) -> None:
    with pytest.raises(InputError, match=match) as caught:
        attach_weak_labels(**{**inputs, **changes})
    assert "\n" not in str(caught.value)


def test_records_gain_map_and_cues(inputs, tmp_path):
    first, second = attach_weak_labels(**inputs)
    assert first["sem_seg_file_name"] == str(tmp_path / "maps" / "a.png")
    assert first["image_id"] == 1
    assert first["cues"].yx.tolist() == [[0, 2]]  # 0.7 itself is not above the threshold
    assert first["cues"].classes.tolist() == [1]
    assert len(second["cues"]) == 0
    assert "cues" not in inputs["records"][0]


def test_threshold(inputs):
    labelled = attach_weak_labels(**inputs, score_threshold=0.5)
    assert [len(record["cues"]) for record in labelled] == [2, 1]


def test_images_without_cues_are_told_of(inputs, tmp_path, caplog):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "b.txt").write_text("0 0 1")
    with caplog.at_level(logging.WARNING):
        first, second = attach_weak_labels(**{**inputs, "cues": str(tmp_path / "text")})
    assert (len(first["cues"]), len(second["cues"])) == (0, 1)
    assert "1 of 2 images are not in it" in caplog.text


def test_refusals(inputs, tmp_path, write_png, write_json):
    refused(inputs, "no images", records=[])
    refused(inputs, r"model has 3 classes, the data set 2 \(cat, dog\)", num_classes=3)
    refused(inputs, "weak maps nowhere: no such folder", weak_maps="nowhere")
    refused(inputs, r"nowhere\.json: cannot be read", cues="nowhere.json")
    (tmp_path / "empty").mkdir()
    refused(inputs, r"none of the data set's 2 images .* first is a", cues=str(tmp_path / "empty"))
    content = cue_file()
    content["images"][1]["height"] = 3
    other_size = write_json(tmp_path / "other.json", content)
    refused(inputs, r"other\.json: points of b\.png lie on 3x3 .* has 2x3", cues=other_size)
    write_png(tmp_path / "maps" / "b.png", np.zeros((3, 2)))
    refused(inputs, r"maps/b\.png: 3x2 pixels .* has 2x3")
    (tmp_path / "maps" / "b.png").write_text("text")
    refused(inputs, r"maps/b\.png: not a PNG file")
    (tmp_path / "maps" / "b.png").unlink()
    refused(inputs, r"weak map .*maps/b\.png: no such file \(1 of 2 are missing\)")
    (tmp_path / "images" / "a.png").unlink()
    refused(inputs, r"image .*images/a\.png: no such file \(1 of 2 are missing\)")


def test_registered_paths_and_overrides(inputs, name, tmp_path, write_json, monkeypatch):
    register_weak_dataset(
        name, images=str(tmp_path / "images"), tags=inputs["cues"], weak_maps=inputs["weak_maps"]
    )
    with pytest.raises(InputError, match=r"registered without them: set DATASETS\.CUES"):
        load_weak_records(name, num_classes=2)
    monkeypatch.setenv("HERE", str(tmp_path))
    first, _ = load_weak_records(name, num_classes=2, cues="$HERE/cues.json")
    assert first["image_classes"] == [0, 1]
    assert first["cues"].classes.tolist() == [1]
    with pytest.raises(InputError, match="elsewhere: no such folder"):
        load_weak_records(name, num_classes=2, cues="$HERE/cues.json", weak_maps="elsewhere")


def test_given_points_score_one(inputs, name, tmp_path, write_json):
    content = cue_file()
    for point in content["points"]:
        del point["score"]
    points = write_json(tmp_path / "points.json", content)
    register_weak_dataset(
        name, images=str(tmp_path / "images"), points=points, weak_maps=inputs["weak_maps"]
    )
    first, second = load_weak_records(name, num_classes=2)
    assert first["cues"].scores.tolist() == [1, 1]
    assert second["cues"].yx.tolist() == [[1, 0]]


def test_unknown_name():
    with pytest.raises(InputError, match="'never heard of' is not registered"):
        load_weak_records("never heard of", num_classes=2)
