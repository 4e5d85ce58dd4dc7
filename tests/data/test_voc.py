"""VOC 2012 from a tiny tree that the test makes."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools import mask as mask_api

from bestie_d2.data.datasets.voc import VOC_CLASSES, load_voc
from bestie_d2.errors import InputError

XML = """<annotation><size><width>4</width><height>3</height><depth>3</depth></size>
<object><name>person</name><part><name>head</name></part></object>
<object><name>cat</name><difficult>1</difficult></object>
<object><name>person</name></object></annotation>"""
STEM = "2007_000032"
OBJECTS = [[1, 1, 255, 0], [1, 255, 2, 2], [0, 255, 2, 2]]
CLASS_MAP = [[15, 15, 255, 0], [15, 255, 8, 8], [0, 255, 8, 8]]


@pytest.fixture
def voc(tmp_path, write_png) -> Path:
    for folder, text in (("Annotations", XML), ("ImageSets/Segmentation", "")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{STEM}.xml").write_text(text)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text(f"{STEM}\n\n")
    (tmp_path / "ImageSets/Segmentation/train_aug.txt").write_text(
        f"/JPEGImages/{STEM}.jpg /SegmentationClassAug/{STEM}.png\n"
    )
    write_png(tmp_path / "SegmentationObject" / f"{STEM}.png", OBJECTS)
    write_png(tmp_path / "SegmentationClass" / f"{STEM}.png", CLASS_MAP)
    return tmp_path


def test_tags_without_opening_the_truth(voc):
    (voc / "SegmentationObject" / f"{STEM}.png").unlink()
    assert load_voc(str(voc), "train_aug", with_truth=False) == [
        {
            "file_name": f"{voc}/JPEGImages/{STEM}.jpg",
            "image_id": 2007000032,
            "height": 3,
            "width": 4,
            "image_classes": [7, 14],
        }
    ]


def test_truth(voc):
    (record,) = load_voc(str(voc), "val", with_truth=True)
    person, cat = record["annotations"]
    assert (VOC_CLASSES[person["category_id"]], VOC_CLASSES[cat["category_id"]]) == (
        "person",
        "cat",
    )
    assert (person["bbox"], cat["bbox"]) == ([0, 0, 2, 2], [2, 1, 4, 3])
    assert person["bbox_mode"] == BoxMode.XYXY_ABS
    assert isinstance(cat["segmentation"]["counts"], str)
    assert mask_api.decode(person["segmentation"]).tolist() == [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_registered():
    for name in ("voc_2012_train_aug", "voc_2012_train_aug_point", "voc_2012_seg_val"):
        assert name in DatasetCatalog
    metadata = MetadataCatalog.get("voc_2012_train_aug_point")
    assert metadata.thing_classes[0] == "aeroplane"
    assert metadata.thing_dataset_id_to_contiguous_id[20] == 19
    assert metadata.cues.endswith("VOC2012/Center_points")
    assert metadata.weak_maps.endswith("VOC2012/WSSS_maps")


def test_refusals(voc, write_png):
    def refused(match: str, split: str = "val") -> None:
        with pytest.raises(InputError, match=match):
            load_voc(str(voc), split, with_truth=True)

    refused(r"Segmentation/train\.txt: no such file; put VOC 2012 into", "train")
    (voc / "ImageSets/Segmentation/train_aug.txt").unlink()
    refused(r"train_aug\.txt: no such file; make it with python datasets/prepare", "train_aug")
    (voc / "ImageSets/Segmentation/trainval.txt").write_bytes(b"caf\xe9\n")
    refused(r"trainval\.txt: not a list of images in UTF-8", "trainval")
    write_png(voc / "SegmentationClass" / f"{STEM}.png", [[0] * 4] * 3)
    refused(rf"SegmentationClass/{STEM}\.png: no class under object 1")
    write_png(voc / "SegmentationObject" / f"{STEM}.png", [[0] * 4] * 2)
    refused(rf"SegmentationObject/{STEM}\.png: 2x4 pixels")
    (voc / "SegmentationObject" / f"{STEM}.png").unlink()
    refused(rf"SegmentationObject/{STEM}\.png: no such file")
    xml = voc / "Annotations" / f"{STEM}.xml"
    xml.write_text(XML.replace("cat", "unicorn"))
    refused(rf"{STEM}\.xml: tag 'unicorn'")
    xml.write_text("<annotation></annotation>")
    refused(rf"{STEM}\.xml: not a VOC annotation")
    xml.write_text("text")
    refused(rf"{STEM}\.xml: not an XML file")
    xml.write_text(XML.replace(">3<", ">-3<"))
    refused(rf"{STEM}\.xml: 'size' is .*-3.*, expected pixels")
    xml.write_text('<!DOCTYPE a [<!ENTITY bomb "boom">]>' + XML.replace("cat", "&bomb;"))
    refused(rf"{STEM}\.xml: has a document type")
    xml.unlink()
    refused(rf"{STEM}\.xml: no such file; put VOC's Annotations there")


@pytest.mark.parametrize("name", ["1_23", "2007_00032", "abc", "٣007_000032", "2" * 5_000])
def test_a_name_that_is_none_of_vocs_is_told(name, voc):
    """Else two could come to one id, 1_23 and 12_3."""
    path = voc / "ImageSets/Segmentation/val.txt"
    path.write_text(f"{STEM}\n{name}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"val\.txt: line 2: .* is no name of VOC's, such as 2007"):
        load_voc(str(voc), "val", with_truth=False)
