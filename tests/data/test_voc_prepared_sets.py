"""The sets of VOC 2012 from a prepared folder: tags, points, and the truth beside them."""

import pytest
from detectron2.data import DatasetCatalog

from bestie_d2.data import load_tagged_records, load_weak_records
from bestie_d2.data.datasets.voc import VOC_CLASSES, VOC_SETS, register_voc
from bestie_d2.evaluation.semantic_iou import SemanticTruth, has_semantic_truth
from bestie_d2.evaluation.truth import has_truth, load_truth

TRAIN_AUG = ["2007_000032", "2008_000002", "2008_000003"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("xml", [["cat", "person"], ["dog", "person"], ["chair"]]),
        ("masks", [["cat", "person"], ["dog"], ["sofa"]]),
    ],
)
def test_tags_come_from_the_xml_or_the_masks(voc_tree, prepare, register_again, source, expected):
    report = prepare(tag_source=source)
    assert (
        "differ in 2 of 3 images of train_aug: 2 have a tag without a mask, 1 a mask without a tag"
    ) in report.describe()[1]
    assert ["tags_train_aug.json", "3", str(sum(map(len, expected)))] in [
        line.split()[:3] for line in report.describe()[0].splitlines()
    ]
    register_again(register_voc, VOC_SETS, voc_tree.root)
    for stem in TRAIN_AUG:  # not opened any more
        (voc_tree.voc / "Annotations" / f"{stem}.xml").unlink()
    records = load_tagged_records("voc_2012_train_aug", len(VOC_CLASSES))
    assert [[VOC_CLASSES[c] for c in r["image_classes"]] for r in records] == expected
    assert [r["image_id"] for r in records] == [2007000032, 2008000002, 2008000003]
    assert (records[0]["height"], records[0]["width"]) == (4, 6)
    assert records[1]["file_name"] == str(voc_tree.voc / "JPEGImages" / "2008_000002.jpg")


def test_the_truth_of_train_aug_measures_but_is_not_in_the_records(
    voc_tree, prepare, register_again
):
    register_again(register_voc, VOC_SETS, voc_tree.root)
    (voc_tree.voc / "ImageSets/Segmentation/train_aug.txt").write_text("\n".join(TRAIN_AUG))
    for name in ("voc_2012_train_aug", "voc_2012_train_aug_point"):
        assert not has_truth(name)
        assert not has_semantic_truth(name)
    prepare()
    for name in ("voc_2012_train_aug", "voc_2012_train_aug_point"):
        assert has_truth(name)
        assert all("annotations" not in record for record in DatasetCatalog.get(name))
        truth = load_truth(name)
        assert [o["category_id"] for o in truth[2008000002]] == [11, 11]
        classes = SemanticTruth(name)
        assert classes.of(2007000032)[0].tolist() == [15, 15, 255, 0, 0, 0]
        assert classes.of(2008000003)[1].tolist() == [0, 18, 18, 18, 0, 0]


def test_points_and_true_maps_train_point_supervision(voc_tree, prepare, register_again):
    prepare()
    register_again(register_voc, VOC_SETS, voc_tree.root)
    maps = str(voc_tree.voc / "SegmentationClassAug")
    records = load_weak_records("voc_2012_train_aug_point", num_classes=20, weak_maps=maps)
    assert [record["cues"].yx.tolist() for record in records] == [
        [[0, 0], [1, 4]],
        [[2, 0], [2, 4]],
        [[2, 2]],
    ]
    assert records[0]["cues"].classes.tolist() == [14, 7]
