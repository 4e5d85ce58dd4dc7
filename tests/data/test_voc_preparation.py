"""The preparation of VOC 2012 with SBD, from trees in the official layout to data sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from bestie_d2.data.datasets.voc import VocFolder
from bestie_d2.data.datasets.voc_preparation import OFFICIAL_COUNTS
from bestie_d2.data.datasets.voc_sources import VocSources
from bestie_d2.errors import InputError

TRAIN_AUG = ["2007_000032", "2008_000002", "2008_000003"]
WRITTEN = [
    "Center_points",
    "ImageSets/Segmentation/train_aug.txt",
    "SegmentationClassAug",
    "instances_train.json",
    "instances_train_aug.json",
    "instances_val.json",
    "tags_train_aug.json",
]


def rows_of(rle: dict) -> list[str]:
    return ["".join(map(str, row)) for row in mask_api.decode(rle).tolist()]


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_instances_keep_void_and_come_from_voc_where_it_has_them(voc_tree, prepare):
    prepare()
    content = json.loads((voc_tree.voc / "instances_train_aug.json").read_text())
    assert [image["id"] for image in content["images"]] == [2007000032, 2008000002, 2008000003]
    first, second, _ = content["images"]
    assert {**first, "void": rows_of(first["void"])} == {
        "id": 2007000032,
        "file_name": "2007_000032.jpg",
        "height": 4,
        "width": 6,
        "void": ["001000", "001000", "111110", "000000"],
    }
    assert "void" not in second
    assert content["categories"][0] == {"id": 1, "name": "aeroplane"}
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = [(a["image_id"], names[a["category_id"]]) for a in content["annotations"]]
    assert found == [
        (2007000032, "person"),
        (2007000032, "cat"),
        (2008000002, "dog"),
        (2008000002, "dog"),
        (2008000003, "sofa"),
    ]
    cup = content["annotations"][2]
    assert rows_of(cup["segmentation"]) == ["101000", "101000", "101000", "111000"]
    assert (cup["id"], cup["bbox"], cup["area"], cup["iscrowd"]) == (3, [0, 0, 3, 4], 9, 0)


@pytest.mark.parametrize(
    ("split", "images", "classes"), [("train", [2007000032], [15, 8]), ("val", [2007000033], [3])]
)
def test_the_instances_of_train_and_val(voc_tree, prepare, split, images, classes):
    prepare()
    api = COCO(str(voc_tree.voc / f"instances_{split}.json"))
    assert api.getImgIds() == images
    assert [a["category_id"] for a in api.loadAnns(api.getAnnIds())] == classes


def test_the_list_the_points_and_the_class_maps(voc_tree, prepare):
    prepare()
    lines = (voc_tree.voc / "ImageSets/Segmentation/train_aug.txt").read_text().splitlines()
    assert lines == TRAIN_AUG
    points = voc_tree.voc / "Center_points"
    assert {path.stem: path.read_text() for path in points.iterdir()} == {
        "2007_000032": "0 0 14 1\n4 1 7 1\n",
        "2008_000002": "0 2 11 1\n4 2 11 1\n",  # the centroid of the cup, (1, 1.67), lies outside
        "2008_000003": "2 2 17 1\n",
    }
    maps = voc_tree.voc / "SegmentationClassAug"
    own, drawn = (Image.open(maps / f"{stem}.png") for stem in TRAIN_AUG[:2])
    assert np.array(own)[:2].tolist() == [[15, 15, 255, 0, 0, 0], [15, 15, 255, 0, 8, 0]]
    assert np.array(drawn)[2].tolist() == [12, 0, 12, 0, 12, 12]
    assert drawn.getpalette()[3 * 12 : 3 * 13] == [64, 0, 128]  # VOC's color of dogs


def test_again_gives_the_same_and_folders_that_are_there_stay(voc_tree, prepare):
    prepare()
    before = everything_in(voc_tree.root)
    assert prepare().warnings == []
    assert everything_in(voc_tree.root) == before
    theirs = voc_tree.voc / "Center_points" / "2008_000003.txt"
    theirs.write_text("1 1 17 1\n")
    (theirs.parent / "2007_000032.txt").unlink()
    report = prepare()
    table = report.describe()[0]
    assert report.warnings == [
        f"{theirs.parent}: was there and is kept, with files of 2 of 3 images; remove it to have "
        "it made anew"
    ]
    assert theirs.read_text() == "1 1 17 1\n"
    assert any(line.split() == ["Center_points", "2", "kept"] for line in table.splitlines())


def test_sizes_are_the_images_own(voc_tree, prepare):
    xml = voc_tree.voc / "Annotations" / "2008_000003.xml"
    xml.write_text(xml.read_text().replace("<width>6", "<width>7"))
    prepare()
    images = json.loads((voc_tree.voc / "tags_train_aug.json").read_text())["images"]
    assert {(image["height"], image["width"]) for image in images} == {(4, 6)}
    (voc_tree.voc / "JPEGImages" / "2008_000003.jpg").write_text("text")
    with pytest.raises(InputError, match=r"2008_000003\.jpg: not a readable image"):
        prepare()


def test_another_output_leaves_the_sources_alone(voc_tree, prepare, tmp_path):
    before = everything_in(voc_tree.voc)
    output = tmp_path / "elsewhere" / "voc"
    table = prepare(output=str(output)).describe()[0]
    assert everything_in(voc_tree.voc) == before
    assert sorted(str(p) for p in map(Path, WRITTEN) if (output / p).exists()) == WRITTEN
    assert any(line.split() == ["Center_points", "3", "new"] for line in table.splitlines())


def test_the_counts_of_the_complete_sets(voc_tree, prepare):
    assert list(OFFICIAL_COUNTS.values()) == [1464, 1449, 10582, 3507]
    with pytest.raises(InputError) as told:
        prepare(expected=OFFICIAL_COUNTS)
    assert str(told.value) == (
        "1 images in train, expected 1,464; 1 images in val, expected 1,449; 3 images in "
        "train_aug, expected 10,582: a download is not complete; extract VOC 2012 and SBD anew, or "
        "take what is there with --allow-partial"
    )
    with pytest.raises(InputError, match=r"^2 objects in train, expected 3: a download is not"):
        prepare(expected={**voc_tree.counts, "objects in train": 3})
    assert not any((voc_tree.voc / name).exists() for name in WRITTEN)
    report = prepare(expected=OFFICIAL_COUNTS, allow_partial=True)
    assert report.describe()[-1] == "warning: 2 objects in train, expected 3,507"
    assert len(report.warnings) == 4


def test_what_is_missing_is_named(voc_tree, prepare):
    def refused(match: str, path: Path) -> None:
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError, match=match):
            prepare()
        path.write_bytes(content)

    voc, dataset = voc_tree.voc, voc_tree.sbd / "dataset"
    refused(r"val\.txt: no such file; put VOC 2012 into", voc / "ImageSets/Segmentation/val.txt")
    refused(r"dataset/val\.txt: no such file; put SBD into", dataset / "val.txt")
    one = r"no such file \(1 of {} are missing\)"
    refused(r"image .*02\.jpg: " + one.format(4), voc / "JPEGImages/2008_000002.jpg")
    refused(r"annotation .*02\.xml: " + one.format(4), voc / "Annotations/2008_000002.xml")
    refused(r"truth .*33\.png: " + one.format(2), voc / "SegmentationObject/2007_000033.png")
    refused(r"truth .*33\.png: " + one.format(2), voc / "SegmentationClass/2007_000033.png")
    refused(r"SBD truth .*03\.mat: " + one.format(2), dataset / "inst/2008_000003.mat")


def test_another_train_aug_list_stays(voc_tree, prepare):
    path = voc_tree.voc / "ImageSets/Segmentation/train_aug.txt"
    path.write_text("/JPEGImages/2007_000032.jpg x\n/JPEGImages/2009_000001.jpg x\n")
    with pytest.raises(InputError, match=r"\(lacking: 2, too many: 1\); move it away"):
        prepare()
    assert "2009_000001" in path.read_text()
    theirs = "".join(f"/JPEGImages/{stem}.jpg /{stem}.png\n" for stem in TRAIN_AUG)
    path.write_text(theirs)
    prepare()
    assert path.read_text() == theirs


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("broken")])
def test_what_stops_in_the_middle_leaves_nothing(voc_tree, prepare, monkeypatch, error):
    before = everything_in(voc_tree.root)

    def stop(self: VocFolder, stem: str, size: tuple[int, int]) -> None:
        assert list(voc_tree.voc.glob(".preparing-*/Center_points"))
        raise error

    monkeypatch.setattr(VocFolder, "read_objects", stop)
    with pytest.raises(type(error)):
        prepare()
    assert everything_in(voc_tree.root) == before
    assert not list(voc_tree.voc.glob(".*"))


def test_the_tool(voc_tree, run_script, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(voc_tree.root))
    line = run_script("datasets/prepare_voc.py", code=2)
    assert line.startswith("error: 1 images in train, expected 1,464; ")
    out = run_script("datasets/prepare_voc.py", "--allow-partial", "--tags", "masks")
    assert f"written to {voc_tree.voc}" in out
    assert "warning: 3 images in train_aug, expected 10,582" in out
    assert sorted(name for name in WRITTEN if (voc_tree.voc / name).exists()) == WRITTEN
    elsewhere = ("--voc", "no_voc", "--sbd", "no_sbd", "--output", str(voc_tree.root / "x"))
    assert "no_sbd/dataset/train.txt: no such file" in run_script(
        "datasets/prepare_voc.py", *elsewhere, code=2
    )


def test_the_images_of_train_aug_are_those_of_sbd_and_train_without_val(voc_tree):
    sources = VocSources(VocFolder(str(voc_tree.voc)), str(voc_tree.sbd))
    assert sources.stems == {
        "train": ["2007_000032"],
        "val": ["2007_000033"],
        "train_aug": TRAIN_AUG,
    }
    assert sources.with_voc_masks == {"2007_000032", "2007_000033"}
