"""Registration: what a record holds, what is never opened, and every refusal."""

import re
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, detection_utils
from detectron2.structures import BoxMode
from PIL import Image
from PIL.ExifTags import Base

from bestie_d2.config import add_bestie_config
from bestie_d2.data import load_tagged_records, register_custom_datasets, register_weak_dataset
from bestie_d2.errors import InputError
from bestie_d2.evaluation.semantic_iou import has_semantic_truth
from bestie_d2.runs.labeling_run import LabelingRun

IMAGES = [
    {"id": 7, "file_name": "a.png", "height": 2, "width": 3},
    {"id": 9, "file_name": "b.png", "height": 2, "width": 3},
]
CATEGORIES = [{"id": 30, "name": "dog"}, {"id": 18, "name": "cat"}]
POINT = {"image_id": 7, "category_id": 30, "point": [2, 0]}
OBJECT = {
    "id": 1,
    "image_id": 9,
    "category_id": 18,
    "bbox": [1, 0, 1, 2],
    "area": 2,
    "iscrowd": 1,
    "segmentation": {"size": [2, 3], "counts": [2, 2, 2]},
}


@pytest.fixture
def points(tmp_path, write_json) -> str:
    content = {"images": IMAGES, "categories": CATEGORIES, "points": [POINT]}
    return write_json(tmp_path / "points.json", content)


@pytest.fixture
def truth(tmp_path, write_json) -> str:
    content = {"images": IMAGES, "categories": CATEGORIES, "annotations": [OBJECT]}
    return write_json(tmp_path / "truth.json", content)


def test_records_and_metadata_from_points(name, points):
    register_weak_dataset(name, images="pictures", points=points, weak_maps="maps")
    assert DatasetCatalog.get(name) == [
        {"file_name": "pictures/a.png", "image_id": 7, "height": 2, "width": 3}
        | {"image_classes": [1]},
        {"file_name": "pictures/b.png", "image_id": 9, "height": 2, "width": 3}
        | {"image_classes": []},
    ]
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {18: 0, 30: 1}
    assert metadata.image_root == "pictures"
    assert metadata.weak_maps == "maps"
    assert metadata.cues == metadata.tags == points
    assert metadata.evaluator_type == "bestie"
    assert "json_file" not in metadata.as_dict()


def test_training_set_never_opens_the_truth(name, points, tmp_path):
    missing = str(tmp_path / "masks.json")
    register_weak_dataset(name, images="pictures", points=points, annotations=missing)
    assert all("annotations" not in record for record in DatasetCatalog.get(name))
    assert MetadataCatalog.get(name).json_file == missing


def test_evaluation_set_carries_the_truth(name, truth):
    register_weak_dataset(name, images="pictures", annotations=truth)
    first, second = DatasetCatalog.get(name)
    assert first["annotations"] == []
    assert second["image_classes"] == []  # a crowd is no tag
    (annotation,) = second["annotations"]
    assert annotation["category_id"] == 0
    assert (annotation["bbox"], annotation["bbox_mode"]) == ([1, 0, 1, 2], BoxMode.XYWH_ABS)
    assert annotation["iscrowd"] == 1
    assert annotation["segmentation"]["counts"] == b"222"  # an uncompressed RLE gets compressed
    assert MetadataCatalog.get(name).json_file == truth


def test_class_maps_are_truth_beside_the_tags(name, points, tmp_path):
    register_weak_dataset(name, images="imgs", points=str(points), class_maps=str(tmp_path))
    first = DatasetCatalog.get(name)[0]
    assert first["semantic_truth_file_name"] == str(
        tmp_path / f"{Path(first['file_name']).stem}.png"
    )
    assert has_semantic_truth(name)


def test_csv_takes_sizes_from_the_images(name, tmp_path, write_png):
    write_png(tmp_path / "a.png", np.zeros((4, 6)))
    (tmp_path / "tags.csv").write_text("a.png,dog\n")
    tags = str(tmp_path / "tags.csv")
    register_weak_dataset(name, images=str(tmp_path), tags=tags, classes=["dog", "cat"])
    (record,) = DatasetCatalog.get(name)
    assert (record["height"], record["width"], record["image_classes"]) == (4, 6, [0])
    assert MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id == {1: 0, 2: 1}


def test_nothing_is_opened_before_first_use(name):
    register_weak_dataset(name, images="nowhere", tags="nowhere.json", classes=["dog"])
    assert MetadataCatalog.get(name).thing_classes == ["dog"]
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        DatasetCatalog.get(name)


def test_prepare_comes_before_the_files_are_read(name, points):
    calls = []
    register_weak_dataset(name, images="x", points=points, prepare=lambda: calls.append(1))
    assert calls == []
    DatasetCatalog.get(name)
    assert calls == [1]


def test_registering_again(name, points):
    register_weak_dataset(name, images="pictures", points=points, classes=["cat", "dog"])
    register_weak_dataset(name, images="pictures", points=points, classes=["cat", "dog"])
    with pytest.raises(InputError, match="already registered with other arguments"):
        register_weak_dataset(name, images="others", points=points)


def test_custom_datasets(name, points, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    entry = {"name": name, "images": "$DETECTRON2_DATASETS/x", "points": "${DETECTRON2_DATASETS}"}
    entry["points"] += "/points.json"
    register_custom_datasets([entry])
    register_custom_datasets([entry])
    assert DatasetCatalog.get(name)[0]["file_name"] == f"{tmp_path}/x/a.png"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "n", "images": "i", "point": "p"}, r"CUSTOM\[0\]: unknown key 'point', known"),
        ({"images": "i", "points": "p"}, r"CUSTOM\[0\]: 'name' is missing"),
        ({"name": "n", "points": "p"}, r"CUSTOM\[0\]: 'images' is missing"),
        ({"name": "n", "images": "i"}, "'n': give 'tags' or 'points'"),
        ({"name": "n", "images": "$NOT_THERE", "points": "p"}, "NOT_THERE is not set"),
        ("n", r"CUSTOM\[0\]: expected keys"),
    ],
)
def test_custom_refusals(entry, message):
    with pytest.raises(InputError, match=message):
        register_custom_datasets([entry])


def test_load_refusals(name, tmp_path, write_json):
    images = [*IMAGES, {"id": 11, "file_name": "a.jpg", "height": 2, "width": 3}]
    content = {"images": images, "categories": CATEGORIES, "points": []}
    path = write_json(tmp_path / "points.json", content)
    register_weak_dataset(name, images=str(tmp_path), points=path)
    with pytest.raises(InputError, match=r"points\.json: images a\.png and a\.jpg have"):
        DatasetCatalog.get(name)


def test_an_image_of_unknown_size_that_cannot_be_opened(name, tmp_path, write_png):
    """A training refuses it; a labeling run that skips bad images can leave it out."""
    (tmp_path / "tags.csv").write_text("c.png,cat\nd.png,cat\n")
    write_png(tmp_path / "d.png", np.zeros((2, 3, 3)))
    register_weak_dataset(name, images=str(tmp_path), tags=str(tmp_path / "tags.csv"))
    for content, reason in ((None, "no such file"), ("text", "not a readable image")):
        if content:
            (tmp_path / "c.png").write_text(content)
        bad, good = DatasetCatalog.get(name)
        assert f"c.png: {reason}" in bad["unreadable"]
        assert "height" not in bad
        assert (good["height"], good["width"]) == (2, 3)
        with pytest.raises(InputError, match=rf"image .*c\.png: {reason}"):
            load_tagged_records(name, 1)
        cfg = get_cfg()
        add_bestie_config(cfg)
        cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "BESTIE", "MODEL.BESTIE.NUM_CLASSES", 1])
        cfg.MODEL.WEIGHTS = ""
        assert len(LabelingRun.open(cfg, name, skip_bad=True).records) == 2
        with pytest.raises(InputError, match=rf"image .*c\.png: {reason}"):
            LabelingRun.open(cfg, name)


def test_sizes_are_those_of_the_turned_image(name, tmp_path):
    sideways = Image.new("RGB", (30, 20))
    exif = sideways.getexif()
    exif[Base.Orientation] = 6
    sideways.save(tmp_path / "phone.jpg", exif=exif)
    (tmp_path / "tags.csv").write_text("phone.jpg,cat\n")
    register_weak_dataset(name, images=str(tmp_path), tags=str(tmp_path / "tags.csv"))
    (record,) = DatasetCatalog.get(name)
    assert (record["height"], record["width"]) == (30, 20)
    assert detection_utils.read_image(record["file_name"], "RGB").shape[:2] == (30, 20)


@pytest.mark.parametrize("file", ["../../etc/a.png", "/etc/a.png", "..\\a.png", "sub/../../a.png"])
def test_a_name_does_not_lead_out_of_the_image_folder(file, name, tmp_path, write_json):
    images = [{**IMAGES[0], "file_name": file}]
    content = {"images": images, "categories": CATEGORIES, "points": [POINT]}
    points = write_json(tmp_path / "points.json", content)
    register_weak_dataset(name, images=str(tmp_path / "images"), points=points)
    with pytest.raises(InputError, match=rf"points\.json: image {re.escape(file)} is outside of"):
        DatasetCatalog.get(name)


def test_a_name_may_lead_anywhere_below_the_folder_that_is_given(name, tmp_path, write_json):
    images = [{**IMAGES[0], "file_name": "sub/../a.png"}, {**IMAGES[1], "file_name": "/etc/b.png"}]
    content = {"images": images, "categories": CATEGORIES, "points": [POINT]}
    register_weak_dataset(name, images="/", points=write_json(tmp_path / "points.json", content))
    files = [record["file_name"] for record in DatasetCatalog.get(name)]
    assert files == ["/sub/../a.png", "/etc/b.png"]
