"""Two classes of a tree in VOC's official layout, through the chain that was written for two."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image
from tiny_pipeline import COLORS, OWN, SIDE

from bestie_d2.data.datasets.object_masks import coco_annotation, coco_categories
from bestie_d2.data.datasets.voc import VOC_CLASSES, VOC_SETS, register_voc
from bestie_d2.pipeline.definition import Pipeline, read_pipeline
from bestie_d2.pipeline.runner import run_pipeline
from bestie_d2.report.run_files import Run

TRAIN_SET, TEST_SET = "voc_2012_train_aug", "voc_2012_seg_val"
SUBSET = ["person", "cat"]
IMAGES = {  # split: stem: the classes of its squares, from left to right
    "train_aug": {
        "2008_000001": ["cat"],
        "2008_000002": ["bird", "person"],
        "2008_000003": ["person", "cat"],
        "2008_000004": ["bird"],
    },
    "val": {"2008_000005": ["cat", "bird"], "2008_000006": ["person"], "2008_000007": ["bird"]},
}
VOC_MAP = "voc_instance/mAP50"
WITHOUT = ("export", "mrcnn")  # stages: what has learned nothing gives no labels
EACH = {"DATASETS.SUBSET": SUBSET, "SOLVER.MAX_ITER": 2, "SOLVER.AMP.ENABLED": False}
EACH |= {"DATALOADER.NUM_WORKERS": 0}


def draw_voc(voc: Path) -> None:
    """The images, their tags as XML, and as index PNGs the truth, which is the weak map too."""
    kinds = ("JPEGImages", "SegmentationObject", "SegmentationClass", "Annotations")
    for folder in (*kinds, "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    for name in ("SegmentationClassAug", "WSSS_maps"):
        (voc / name).symlink_to(voc / "SegmentationClass")
    for split, images in IMAGES.items():
        (voc / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(images))
        truth: dict = {"images": [], "annotations": [], "categories": coco_categories(VOC_CLASSES)}
        for stem, names in images.items():
            image = np.zeros((SIDE, SIDE, 3), np.uint8)
            objects, classes = np.zeros((2, SIDE, SIDE), np.uint8)
            for number, name in enumerate(names):
                square = np.s_[10:30, 8 + 32 * number : 28 + 32 * number]
                image[square] = COLORS.get(1 + SUBSET.index(name) if name in SUBSET else 0, 255)
                objects[square], classes[square] = number + 1, VOC_CLASSES.index(name) + 1
            for kind, array in zip(kinds, (image, objects, classes), strict=False):
                suffix = "jpg" if kind == "JPEGImages" else "png"
                Image.fromarray(array).save(voc / kind / f"{stem}.{suffix}")
            tags = "".join(f"<object><name>{name}</name></object>" for name in names)
            size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
            xml = f"<annotation>{size}{tags}</annotation>"
            (voc / "Annotations" / f"{stem}.xml").write_text(xml)
            image_id = int(stem.replace("_", ""))
            entry = {"id": image_id, "file_name": f"{stem}.jpg", "height": SIDE, "width": SIDE}
            truth["images"].append(entry)
            for number, name in enumerate(names, start=1):
                ids = (len(truth["annotations"]) + 1, image_id, VOC_CLASSES.index(name))
                truth["annotations"].append(coco_annotation(*ids, objects == number))
        (voc / f"instances_{split}.json").write_text(json.dumps(truth))


@pytest.fixture
def chain(project, tmp_path, register_again) -> Pipeline:
    """The tiny pipeline in a folder of its own, with the sets of a VOC tree in place of its own."""
    draw_voc(tmp_path / "VOC2012")
    register_again(register_voc, VOC_SETS, tmp_path)
    places = {"train_set": TRAIN_SET, "test_set": TEST_SET, "output": str(tmp_path / "out")}
    words = [word for pair in places.items() for word in pair]
    for stage in (*OWN, "mrcnn_truth"):
        words += [word for key, value in EACH.items() for word in (f"{stage}.{key}", str(value))]
    return read_pipeline(str(project / "tiny.yaml"), words)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def mean_iou(maps: Path, voc: Path) -> float:
    """Of all maps together, by the indices of person and cat in the truth."""
    truth, found = [], []
    for path in maps.glob("*.png"):
        whole = pixels(voc / "SegmentationClass" / path.name)
        truth.append(1 * (whole == 15) + 2 * (whole == 8))
        found.append(pixels(path))
    true, made = np.array(truth), np.array(found)
    ious = [((true == i) & (made == i)).sum() / ((true == i) | (made == i)).sum() for i in range(3)]
    return 100 * float(np.mean(ious))


def test_the_chain(chain, tmp_path, capsys):
    stages = {name: entry for name, entry in chain.stages.items() if name not in WITHOUT}
    chain = replace(chain, stages=stages)
    run_pipeline(chain)
    out, voc = tmp_path / "out", tmp_path / "VOC2012"
    shown = ["2008_000001", "2008_000002", "2008_000003"]
    assert sorted(path.stem for path in (out / "maps/weak_maps").glob("*.png")) == shown
    assert read(out / "maps/weak_maps/made_with.json")["classes"] == SUBSET
    figures = {name: read(out / name / "manifest.json")["figures"] for name in stages}
    assert figures["maps"]["mIoU"] == pytest.approx(mean_iou(out / "maps/weak_maps", voc))
    cues = read(out / "cues/cues.json")
    assert cues["categories"] == [{"id": 15, "name": "person"}, {"id": 8, "name": "cat"}]
    assert [image["file_name"] for image in cues["images"]] == [f"{stem}.jpg" for stem in shown]
    # the registered maps of the test set are its truth, in the numbers of all classes
    perfect = [figures["evaluate"][f"weak_components/{name}"] for name in ("segm/AP", VOC_MAP)]
    assert perfect == pytest.approx([100.0, 100.0])
    assert read(out / "mrcnn_truth/classes.json")["classes"] == SUBSET
    records = DatasetCatalog.get(f"{TRAIN_SET}_truth@person+cat")
    found = [(r["image_id"], [a["category_id"] for a in r["annotations"]]) for r in records]
    assert found == [(2008000001, [1]), (2008000002, [0]), (2008000003, [0, 1])]
    labels = Run(chain).labels  # of the report
    first = labels.weak_map(labels.records[0])
    assert (first == pixels(out / "maps/weak_maps/2008_000001.png")).all()
    assert labels.truth(labels.records[1])["truth"].classes.tolist() == [0]

    capsys.readouterr()
    for stage in stages.values():
        stage.overrides.extend(["DATASETS.SUBSET", "['person', 'bird']"])
    run_pipeline(chain, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:6] == ["training", "set's", "list", "was", "3", "images,"]
