"""COCO 2017 as weakly labelled sets: from a small file with crowds, and from real ones."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BitMasks, Instances
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from bestie_d2.data import load_tagged_records, load_weak_records
from bestie_d2.data.datasets.coco import register_coco, write_coco_points
from bestie_d2.data.labels import label_files
from bestie_d2.errors import InputError
from bestie_d2.evaluation import VOCInstanceEvaluator
from bestie_d2.evaluation.coco_instance import COCOInstanceEvaluator
from bestie_d2.evaluation.truth import load_truth

SETS = [f"coco_2017_{split}_{kind}" for split in ("train", "val") for kind in ("tags", "point")]
OFFICIAL = MetadataCatalog.get("coco_2017_val")  # Detectron2's own
PERSON, STREET_SIGN, STOP_SIGN = 1, 12, 13  # category ids; the second is one of the gaps
CATEGORIES = [
    {"id": category_id, "name": OFFICIAL.thing_classes[index], "supercategory": "any"}
    for category_id, index in OFFICIAL.thing_dataset_id_to_contiguous_id.items()
]
IMAGES = [{"id": i, "file_name": f"{i:012}.jpg", "height": 8, "width": 10} for i in (3, 5, 8)]
SQUARE = [[2, 1, 5, 1, 5, 4, 2, 4]]  # polygon x, y: pixels 2..4 by 1..3
PARTS = [[0, 0, 2, 0, 2, 2, 0, 2], [6, 0, 8, 0, 8, 2, 6, 2]]  # two squares of 2x2, one object
SPECK = [[7.6, 5.6, 7.8, 5.6, 7.8, 5.8]]  # covers no pixel's center
CROWD = {"size": [8, 10], "counts": [0, 80]}  # RLE of the whole image


def annotation(image_id: int, category_id: int, segmentation: object, iscrowd: int = 0) -> dict:
    ids = {"id": 0, "image_id": image_id, "category_id": category_id}
    box = {"bbox": [7.6, 5.6, 0.2, 0.2], "area": 1.0}  # the speck's; the others' are not looked at
    return {**ids, **box, "segmentation": segmentation, "iscrowd": iscrowd}


ANNOTATIONS = [
    annotation(3, STOP_SIGN, SQUARE),
    annotation(3, PERSON, PARTS),
    annotation(3, PERSON, SPECK),
    annotation(3, 90, CROWD, iscrowd=1),
    annotation(5, PERSON, CROWD, iscrowd=1),
]


@pytest.fixture
def coco(tmp_path, write_json, register_again) -> Path:
    """The folder ``coco`` with the same three images in both splits."""
    content = {"images": IMAGES, "categories": CATEGORIES, "annotations": ANNOTATIONS}
    for split in ("train", "val"):
        write_json(tmp_path / f"coco/annotations/instances_{split}2017.json", content)
        (tmp_path / f"coco/{split}2017").mkdir()
        for image in IMAGES:
            Image.new("RGB", (10, 8)).save(tmp_path / f"coco/{split}2017" / image["file_name"])
    register_again(register_coco, SETS, tmp_path)
    return tmp_path / "coco"


@pytest.fixture
def mini(shared, tmp_path, register_again) -> Path:
    """Real images and annotations, with a folder of their own for what is made."""
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        name = f"annotations/instances_{split}2017.json"
        (folder / name).symlink_to(shared / "data/coco_mini" / name)
        (folder / f"{split}2017").symlink_to(shared / "data/coco_mini" / f"{split}2017")
    register_again(register_coco, SETS, tmp_path)
    return folder


def test_crowds_give_no_tag_and_untagged_images_are_not_trained_on(coco):
    (record,) = DatasetCatalog.get("coco_2017_train_tags")
    assert record == {
        "file_name": f"{coco}/train2017/000000000003.jpg",
        "image_id": 3,
        "height": 8,
        "width": 10,
        "image_classes": [0, 11],  # the stop sign's 13 comes after the gap at 12
    }
    in_val = DatasetCatalog.get("coco_2017_val_tags")
    assert [r["image_classes"] for r in in_val] == [[0, 11], [], []]
    assert len(load_tagged_records("coco_2017_val_tags", 80)) == 1
    truth = load_truth("coco_2017_val_tags")  # without the speck, which covers no pixel
    assert {k: len(v) for k, v in truth.items()} == {3: 2, 5: 0, 8: 0}


def test_the_gaps_and_what_is_left_out_are_told_once(coco, caplog):
    caplog.set_level(logging.INFO)
    DatasetCatalog.get("coco_2017_train_tags")
    DatasetCatalog.get("coco_2017_train_tags")
    told = [record.getMessage() for record in caplog.records]
    source = coco / "annotations/instances_train2017.json"
    assert told == [
        f"{source}: 2 annotations are crowds (iscrowd) and give no tag; by that 2 of 3 images lose "
        "one",
        f"{source}: the category ids 1 to 90 (without 12, 26, 29, 30, 45, 66, 68, 69, 71, 83) are "
        "the classes 0 to 79",
        f"{source}: 2 of 3 images have no tag and are left out",
    ]
    metadata = MetadataCatalog.get("coco_2017_train_tags")
    assert metadata.thing_dataset_id_to_contiguous_id == OFFICIAL.thing_dataset_id_to_contiguous_id
    assert metadata.thing_classes == OFFICIAL.thing_classes
    assert metadata.json_file == str(source)


def test_a_file_is_read_once_until_it_changes(coco, monkeypatch):
    read, times = [], []
    load = label_files.documents_of
    monkeypatch.setattr(label_files, "documents_of", lambda *a: read.append(a[0]) or load(*a))
    path = coco / "annotations/instances_train2017.json"
    for time in (1, 1, 2):
        os.utime(path, (time, time))
        (record,) = DatasetCatalog.get("coco_2017_train_tags")
        assert record["file_name"] == f"{coco}/train2017/000000000003.jpg"
        record["file_name"] = "changed by whoever got it"
        times.append(len(read))
    assert times == [1, 1, 2]


def test_points(coco, run_script):
    for split in ("train", "val"):
        with pytest.raises(InputError, match=rf"points_{split}2017\.json: no such file; make it"):
            DatasetCatalog.get(f"coco_2017_{split}_point")
    out = run_script("datasets/prepare_coco.py", "--coco", str(coco))
    path = coco / "annotations/points_train2017.json"
    assert out.splitlines()[0] == f"{path}: 3 points, without 2 crowd regions"
    content = json.loads(path.read_text())
    assert content["points"] == [
        {"image_id": 3, "category_id": STOP_SIGN, "point": [3, 2]},
        {"image_id": 3, "category_id": PERSON, "point": [1, 0]},  # centroid (3.5, 0.5) is outside
        {"image_id": 3, "category_id": PERSON, "point": [7, 5]},
    ]
    assert content["images"] == IMAGES
    (record,) = DatasetCatalog.get("coco_2017_train_point")
    assert record["image_classes"] == [0, 11]
    assert len(DatasetCatalog.get("coco_2017_val_point")) == 3


def test_points_train_with_weak_maps_in_the_folder(coco, write_png):
    write_coco_points(str(coco), "train")
    write_png(coco / "WSSS_maps" / "000000000003.png", np.zeros((8, 10)))
    (record,) = load_weak_records("coco_2017_train_point", num_classes=80)
    assert record["cues"].yx.tolist() == [[2, 3], [0, 1], [5, 7]]
    assert record["cues"].classes.tolist() == [11, 0, 0]
    (coco / "Peak_points").mkdir()
    (coco / "Peak_points" / "000000000003.txt").write_text("1 2 11 0.9\n")
    (record,) = load_weak_records("coco_2017_train_tags", num_classes=80)
    assert record["cues"].yx.tolist() == [[2, 1]]


def test_refusals(coco, write_json, run_script):
    path = coco / "annotations" / "instances_val2017.json"

    def write(**lists: list) -> None:
        content = {"images": IMAGES, "categories": CATEGORIES, "annotations": ANNOTATIONS}
        write_json(path, {**content, **lists})

    write(categories=CATEGORIES[:2])
    with pytest.raises(InputError, match=r"val2017\.json: its categories .* are not the classes"):
        DatasetCatalog.get("coco_2017_val_tags")
    write(annotations=[annotation(4, PERSON, SQUARE)])
    with pytest.raises(InputError, match=r"val2017\.json: image id 4 is not in 'images'"):
        write_coco_points(str(coco), "val")
    write(annotations=[{"image_id": 3}])
    line = run_script("datasets/prepare_coco.py", "--coco", str(coco), "--split", "val", code=2)
    assert "val2017.json: annotations[0] has no 'category_id'" in line
    for segmentation, reason in (
        ([[2, 1, 5, 1]], r"a polygon of 4 numbers, expected x, y of three corners or more"),
        ({"size": [8, 9], "counts": [0, 72]}, r"its mask is \[8, 9\], its image \[8, 10\]"),
        ({"size": [8, 10]}, r"its RLE has the 'counts' None"),
    ):
        write(annotations=[annotation(3, PERSON, segmentation)])
        with pytest.raises(InputError, match=r"an object of 000000000003\.jpg: " + reason):
            write_coco_points(str(coco), "val")
    for box in ([0, 0], [0, 0, 1, None], None):
        write(annotations=[{**annotation(3, PERSON, SQUARE), "bbox": box}])
        with pytest.raises(InputError, match=r"003\.jpg: 'bbox' is .*, expected \[left, top"):
            write_coco_points(str(coco), "val")
    path.unlink()
    with pytest.raises(InputError, match=r"no such file; put COCO 2017 there as docs/data_sets"):
        DatasetCatalog.get("coco_2017_val_tags")
    assert [p.name for p in path.parent.iterdir()] == ["instances_train2017.json"]


def test_real_tags_are_those_that_pycocotools_finds(mini):
    for split, images in (("train", 39), ("val", 22)):
        api = COCO(str(mini / f"annotations/instances_{split}2017.json"))
        names = {c["id"]: c["name"] for c in api.loadCats(api.getCatIds())}
        records = DatasetCatalog.get(f"coco_2017_{split}_tags")
        assert len(records) == images
        for record in records:
            ids = api.getAnnIds([record["image_id"]], iscrowd=False)
            expected = {names[a["category_id"]] for a in api.loadAnns(ids)}
            assert {OFFICIAL.thing_classes[c] for c in record["image_classes"]} == expected
            assert Path(record["file_name"]).is_file()


def test_real_points_lie_in_their_objects(mini):
    line = write_coco_points(str(mini), "val")
    assert line.endswith("points_val2017.json: 125 points, without 2 crowd regions")
    api = COCO(str(mini / "annotations/instances_val2017.json"))
    objects = [a for a in api.loadAnns(api.getAnnIds()) if not a["iscrowd"]]
    points = json.loads((mini / "annotations/points_val2017.json").read_text())["points"]
    for entry, point in zip(objects, points, strict=True):
        assert point["image_id"] == entry["image_id"]
        x, y = point["point"]
        assert mask_api.decode(api.annToRLE(entry))[y, x] == 1


def test_perfect_predictions_of_the_real_val_images_reach_everything(mini, tmp_path):
    name = "coco_2017_val_tags"
    truth = load_truth(name)
    evaluators = [COCOInstanceEvaluator(name, output_dir=str(tmp_path)), VOCInstanceEvaluator(name)]
    for evaluator in evaluators:
        evaluator.reset()
        for record in DatasetCatalog.get(name):
            objects = truth[record["image_id"]]
            predicted = Instances((record["height"], record["width"]))
            masks = [mask_api.decode(item["segmentation"]).astype(bool) for item in objects]
            predicted.pred_masks = torch.tensor(np.array(masks)).reshape(-1, *predicted.image_size)
            predicted.pred_boxes = BitMasks(predicted.pred_masks).get_bounding_boxes()
            predicted.pred_classes = torch.tensor([o["category_id"] for o in objects]).long()
            predicted.scores = torch.ones(len(objects))
            evaluator.process([record], [{"instances": predicted}])
    coco, voc = (evaluator.evaluate() for evaluator in evaluators)
    assert coco["segm"]["AP"] == pytest.approx(100)
    assert voc["voc_instance"]["mAP75"] == pytest.approx(100)
