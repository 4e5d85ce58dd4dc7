"""Some classes of a data set: what else it shows is background, in every file that it has."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.checks.training import check_test_sets
from bestie_d2.checks.weak_map_check import check_weak_maps
from bestie_d2.data import load_tagged_records, load_weak_records, register_subset
from bestie_d2.data.datasets.voc import VOC_CLASSES, VOC_SETS, register_voc
from bestie_d2.data.datasets.weak import register_weak_dataset
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.evaluation import evaluate_weak_components
from bestie_d2.evaluation.coco_instance import COCOInstanceEvaluator
from bestie_d2.evaluation.semantic_iou import SemanticTruth
from bestie_d2.evaluation.truth import load_truth, read_truth
from bestie_d2.evaluation.voc_instance import VOCInstanceEvaluator

CAT_ID, DOG_ID = (VOC_CLASSES.index(name) + 1 for name in ("cat", "dog"))
TRAIN, POINT, VAL = "voc_2012_train_aug", "voc_2012_train_aug_point", "voc_2012_seg_val"


@pytest.fixture
def voc(voc_tree, prepare, register_again) -> Path:
    """The prepared tree, whose true class maps stand for weak ones too."""
    prepare()
    register_again(register_voc, VOC_SETS, voc_tree.root)
    (voc_tree.voc / "WSSS_maps").symlink_to(voc_tree.voc / "SegmentationClassAug")
    return voc_tree.voc


def weak_maps_of(records: list[dict]) -> list[list[list[int]]]:
    return [
        read_weak_sem_seg(r["sem_seg_file_name"], 2, kept=r.get("sem_seg_kept")).tolist()
        for r in records
    ]


def test_images_tags_and_ids(voc):
    name = register_subset(TRAIN, ["dog", "cat"])
    assert name == "voc_2012_train_aug@dog+cat"
    assert [register_subset(name, ["dog", "cat"]), register_subset(name, [])] == [name, name]
    records = load_tagged_records(name, 2)
    # cat and person; dog and person; chair
    assert [(r["image_id"], r["image_classes"]) for r in records] == [
        (2007000032, [1]),
        (2008000002, [0]),
    ]
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["dog", "cat"]
    assert metadata.thing_dataset_id_to_contiguous_id == {CAT_ID: 1, DOG_ID: 0}
    assert metadata.image_root == str(voc / "JPEGImages")
    assert [len(r["image_classes"]) for r in DatasetCatalog.get(TRAIN)] == [2, 2, 1]


def test_truth_and_true_class_maps(voc):
    name = register_subset(TRAIN, ["dog", "cat"])
    truth = load_truth(name)  # out of the file of all classes
    assert {i: [o["category_id"] for o in objects] for i, objects in truth.items()} == {
        2007000032: [1],
        2008000002: [0, 0],
    }
    maps = SemanticTruth(name)
    # the person's first two columns and what is void around the cat, whose index was 8
    assert maps.of(2007000032)[:2].tolist() == [[0, 0, 255, 0, 0, 0], [0, 0, 255, 0, 2, 0]]
    assert maps.of(2008000002)[2].tolist() == [1, 0, 1, 0, 1, 1]


def test_registered_weak_labels_have_the_numbers_of_all_classes(voc):
    name = register_subset(POINT, ["dog", "cat"])
    records = load_weak_records(name, num_classes=2)
    assert [r["cues"].classes.tolist() for r in records] == [[1], [0, 0]]
    assert [r["cues"].yx.tolist() for r in records] == [[[1, 4]], [[2, 0], [2, 4]]]
    assert weak_maps_of(records)[0][:2] == [[0, 0, 255, 0, 0, 0], [0, 0, 255, 0, 2, 0]]
    assert weak_maps_of(records)[1][2] == [1, 0, 1, 0, 1, 1]
    report = check_weak_maps(name, str(voc / "WSSS_maps"))
    assert report.figures["mIoU"] == 100.0
    assert (report.lacking, report.beyond, report.unusable) == ([], [], [])
    assert report.pixels[[0, 1, 2, 255]].tolist() == [16 + 11, 13, 1, 7]


def test_every_figure_of_perfect_maps_is_100(voc):
    name = register_subset(TRAIN, ["dog", "cat"])
    evaluators = [COCOInstanceEvaluator(name, distributed=False), VOCInstanceEvaluator(name)]
    results = evaluate_weak_components(name, evaluators, min_area=1)
    figures = ("mAP75", "AP50-dog", "AP50-cat")
    assert [results["voc_instance"][key] for key in figures] == [100.0] * 3
    assert [results["segm"][key] for key in ("AP", "AP-dog", "AP-cat")] == pytest.approx(
        [100.0] * 3
    )


def test_labels_that_a_configuration_names_say_their_classes(voc, tmp_path, write_png):
    name, folder = register_subset(POINT, ["dog", "cat"]), tmp_path / "maps"
    arrays = {"2007_000032": [[0, 0, 0, 0, 2, 0]] * 4, "2008_000002": [[1, 0, 1, 0, 0, 0]] * 4}
    for stem, rows in arrays.items():
        write_png(folder / f"{stem}.png", rows)

    def read(made_with: object, **others: str) -> list[dict]:
        (folder / "made_with.json").write_text(json.dumps(made_with))
        return load_weak_records(name, num_classes=2, weak_maps=str(folder), **others)

    assert weak_maps_of(read({"classes": ["dog", "cat"]})) == list(arrays.values())
    whole = {"classes": list(VOC_CLASSES)}  # of which 1 and 2 are aeroplane and bicycle
    assert weak_maps_of(read(whole)) == [[[0] * 6] * 4] * 2
    with pytest.raises(
        InputError, match=r"do not say whether .* write \{\"classes\": \[\.\.\.\]\}"
    ):
        read({})
    with pytest.raises(InputError, match=r"weak maps in .* are cat, dog, .* in another order"):
        read({"classes": ["cat", "dog"]})
    (text := tmp_path / "text").symlink_to(voc / "Center_points")
    with pytest.raises(InputError, match="text files know classes by number alone"):
        read(whole, cues=str(text))
    points = [{"image_id": 1, "category_id": 5, "point": [4, 1], "score": 0.9}]
    content = {"images": [{"id": 1, "file_name": "2007_000032.jpg"}], "points": points}
    (tmp_path / "cues.json").write_text(
        json.dumps({**content, "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}]})
    )
    first, _ = read(whole, cues=str(tmp_path / "cues.json"))
    assert (first["cues"].classes.tolist(), first["cues"].yx.tolist()) == ([1], [[1, 4]])


def test_the_truth_in_records(voc):
    name = register_subset(VAL, ["cat", "bird"])
    (record,) = DatasetCatalog.get(name)
    assert (record["image_classes"], record["annotations"][0]["category_id"]) == ([1], 1)
    assert [o["category_id"] for o in load_truth(name)[2007000033]] == [1]
    none = register_subset(VAL, ["cat", "dog"])
    with pytest.raises(InputError, match=r"none of the 1 images of 'voc_2012_seg_val' shows any"):
        DatasetCatalog.get(none)


def test_a_set_of_ones_own_whose_classes_its_file_says(name, tmp_path, write_json, write_png):
    for number in (1, 2):
        write_png(tmp_path / f"{number}.png", np.zeros((2, 3)))
    square = {"bbox": [0, 0, 1, 2], "segmentation": {"size": [2, 3], "counts": [0, 2, 4]}}
    objects = [(1, 7), (1, 3), (2, 7)]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 2, "width": 3} for i in (1, 2)],
        "categories": [{"id": 3, "name": "ant/bee"}, {"id": 7, "name": "fly"}],
        "annotations": [{"image_id": i, "category_id": c, **square} for i, c in objects],
    }
    path = write_json(tmp_path / "truth.json", content)
    register_weak_dataset(name, images=str(tmp_path), annotations=path)
    with pytest.raises(InputError) as told:
        DatasetCatalog.get(register_subset(name, ["flies"]))
    assert str(told.value) == (
        f"DATASETS.SUBSET: 'flies' is no class of {name!r}; did you mean 'fly'? (its classes: "
        "ant/bee, fly)"
    )
    subset = register_subset(name, ["ant/bee"])  # no name of a folder
    assert subset.startswith(f"{name}@1-")
    truth = read_truth(subset)
    assert [(i, len(objects)) for i, objects in truth.objects.items()] == [(1, 1)]
    assert [a["category_id"] for a in DatasetCatalog.get(subset)[0]["annotations"]] == [0]
    both = DatasetCatalog.get(register_subset(name, ["fly", "ant/bee"]))  # in another order
    assert [[a["category_id"] for a in r["annotations"]] for r in both] == [[0, 1], [0]]
    assert [r["image_classes"] for r in both] == [[0, 1], [0]]


def test_a_configuration_has_the_subset_in_place_of_its_sets(voc, tmp_path):
    keys = ["DATASETS.TRAIN", f"('{TRAIN}', 'later')", "DATASETS.TEST", f"('{VAL}',)"]
    cfg = load_config("", [*keys, "DATASETS.SUBSET", "['bird', 'cat']"])
    sets = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    assert sets == [f"{TRAIN}@bird+cat", "later", f"{VAL}@bird+cat"]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(yaml.safe_load(cfg.dump())))
    assert load_config(str(tmp_path / "again.yaml")).DATASETS == cfg.DATASETS
    with pytest.raises(InputError) as told:
        check_test_sets(cfg)
    assert str(told.value) == (
        "MODEL.ROI_HEADS.NUM_CLASSES is 80, but the data set 'voc_2012_seg_val@bird+cat' of "
        "DATASETS.TEST has 2 classes (bird, cat): set it to 2"
    )


@pytest.mark.parametrize(
    ("subset", "line"),
    [
        ("['cat', 'cat']", "['cat', 'cat'], expected different class names"),
        ("[1]", "[1], expected different class names"),
        ("['horses']", "'horses' is no class of 'voc_2012_seg_val'; did you mean 'horse'?"),
    ],
)
def test_what_is_no_subset(subset, line):
    with pytest.raises(InputError) as told:
        load_config("", ["DATASETS.TEST", f"('{VAL}',)", "DATASETS.SUBSET", subset])
    assert line in str(told.value)
