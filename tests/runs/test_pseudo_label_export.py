"""Pseudo labels as a COCO file: what is chosen, and who can read it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.structures import Instances
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bestie_d2.data.datasets.object_masks import to_rle
from bestie_d2.errors import InputError
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.pseudo_label_export import LabelRecipe, labels_of, write_label_file
from bestie_d2.storage.results import Results

HEIGHT, WIDTH = 48, 64
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
ALL = LabelRecipe(use_tags=True, score_threshold=0.0, min_area=1)
# file name, image id, tags; and what a model finds: class, score, (top, left, height, width)
SCENES = [
    ("日本/fünf.png", 9, [0, 1], [(0, 0.5, (4, 6, 20, 24)), (1, 0.9, (8, 34, 30, 25))]),
    ("leer.png", 4, [0], []),
    ("a b.png", 2, [0], [(0, 0.9, (2, 3, 18, 20)), (1, 0.8, (24, 30, 20, 30))]),
]
ROOT = "photos"


def found(objects: list[tuple[int, float, tuple[int, int, int, int]]]) -> dict:
    """Output of a model that sees rectangles."""
    instances = Instances((HEIGHT, WIDTH))
    masks = torch.zeros(len(objects), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (_, _, (top, left, height, width)) in zip(masks, objects, strict=True):
        mask[top : top + height, left : left + width] = True
    instances.pred_masks = masks
    instances.pred_classes = torch.tensor([o[0] for o in objects], dtype=torch.int64)
    instances.scores = torch.tensor([o[1] for o in objects])
    return {"instances": instances}


def records(root: Path) -> list[dict]:
    return [
        {
            "file_name": str(root / ROOT / name),
            "image_id": image_id,
            "height": HEIGHT,
            "width": WIDTH,
            "image_classes": tags,
        }
        for name, image_id, tags, _ in SCENES
    ]


@pytest.fixture
def export(tmp_path):
    """Writes the labels of the scenes (or of some of them); returns the file and the report."""

    def run(recipe: LabelRecipe = ALL, chosen: slice = slice(None), truth=None):
        results = Results(tmp_path / "labels.json")
        results.begin({})
        scenes = list(zip(records(tmp_path), SCENES, strict=True))[chosen]
        for number, (record, (*_, objects)) in enumerate(scenes[::-1]):
            result = labels_of(record, found(objects), recipe=recipe)
            results.put(record["image_id"], result, process=number % 2)
        run = LabelingRun(CfgNode(), "set", records(tmp_path), CATEGORIES)
        output, root = str(results.output), str(tmp_path / ROOT)
        report = write_label_file(run, output, {"top_k": None}, root, results, truth)
        results.remove()
        return json.loads(Path(output).read_text()), report

    return run


def test_the_file(export):
    content, _ = export()
    assert content["info"] == {"top_k": None}
    assert content["categories"] == CATEGORIES
    assert content["images"] == [
        {"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for name, image_id, _, _ in SCENES
    ]
    first, second, third = content["annotations"]
    assert {key: first[key] for key in first if key != "segmentation"} == {
        "id": 1, "image_id": 9, "category_id": 7, "bbox": [34, 8, 25, 30], "area": 750,
        "iscrowd": 0, "score": 0.9,
    }  # fmt: skip
    assert first["segmentation"]["size"] == [HEIGHT, WIDTH]
    assert isinstance(first["segmentation"]["counts"], str)
    assert (second["id"], second["image_id"], second["category_id"]) == (2, 9, 3)
    assert (third["id"], third["image_id"], third["category_id"]) == (3, 2, 3)


def test_images_that_were_left_out_are_not_in_the_file(export):
    content, report = export(chosen=slice(0, 2))
    assert [image["id"] for image in content["images"]] == [9, 4]
    assert (report.images, report.images_without) == (2, 1)


@pytest.mark.parametrize(
    ("recipe", "kept", "removed"),
    [
        (LabelRecipe(True, 0.0, 1), [4, 2, 0], {"tags": 2, "score": 0, "area": 0, "top-k": 0}),
        (LabelRecipe(False, 0.0, 1), [3, 4, 1, 2, 0], {"score": 0, "area": 0, "top-k": 0}),
        (LabelRecipe(True, 0.5, 1), [4, 2], {"tags": 2, "score": 1, "area": 0, "top-k": 0}),
        (LabelRecipe(True, 0.0, 7), [4, 0], {"tags": 2, "score": 0, "area": 1, "top-k": 0}),
        (LabelRecipe(False, 0.0, 1, 2), [3, 4], {"score": 0, "area": 0, "top-k": 3}),
    ],
)
def test_what_is_chosen(recipe, kept, removed):
    box = (0, 0, 10, 10)
    objects = [(1, 0.25, box), (0, 0.5, box), (1, 0.5, (0, 0, 2, 3)), (0, 0.875, box)]
    output = found([*objects, (1, 0.75, box)])
    chosen, counts = recipe.choose(output["instances"], tags=[1])
    assert chosen.tolist() == kept
    assert counts == removed


def test_unknown_tags_remove_nothing_and_no_tag_all():
    instances = found([(1, 0.5, (0, 0, 2, 2))])["instances"]
    assert ALL.choose(instances, tags=None)[0].tolist() == [0]
    assert ALL.choose(instances, tags=[])[0].tolist() == []


def test_a_model_without_masks_is_told(tmp_path):
    boxes_only = found([])
    boxes_only["instances"].remove("pred_masks")
    for output in (boxes_only, {"sem_seg": torch.zeros(2, 4, 4)}):
        with pytest.raises(InputError, match="no instances with masks"):
            labels_of(records(tmp_path)[0], output, recipe=ALL)


# -- other readers of the file


def truth_file(folder: Path) -> Path:
    """The scenes' rectangles as the truth: one of them is no tag of its image, so no label."""
    images, annotations = [], []
    for name, image_id, _, objects in SCENES:
        images.append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for class_id, _, (top, left, height, width) in objects:
            x, y = left + width, top + height
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORIES[class_id]["id"],
                    "segmentation": [[left, top, x, top, x, y, left, y]],
                    "bbox": [left, top, width, height],
                    "area": height * width,
                    "iscrowd": 0,
                }
            )
    path = folder / "truth.json"
    path.write_text(
        json.dumps({"images": images, "categories": CATEGORIES, "annotations": annotations})
    )
    return path


def test_pycocotools_reads_the_file_and_evaluates_it_against_the_truth(export, tmp_path):
    content, _ = export()
    labels, truth = COCO(str(tmp_path / "labels.json")), COCO(str(truth_file(tmp_path)))
    assert labels.imgs[9]["file_name"] == "日本/fünf.png"
    assert labels.annToMask(labels.anns[1]).sum() == 750
    evaluation = COCOeval(truth, truth.loadRes(content["annotations"]), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    recall = evaluation.eval["recall"][:, :, 0, 2]
    assert recall[0].tolist() == [1.0, 0.5]  # both cats, one of two dogs
    assert recall[-1].tolist() == [1.0, 0.5]  # at IoU .95: they are the same pixels


def test_labels_are_measured_against_the_truth(export, tmp_path):
    truth = {record["image_id"]: [] for record in records(tmp_path)}
    for entry in json.loads(truth_file(tmp_path).read_text())["annotations"]:
        rle = to_rle(entry["segmentation"], HEIGHT, WIDTH)
        class_id = [c["id"] for c in CATEGORIES].index(entry["category_id"])
        truth[entry["image_id"]].append({"category_id": class_id, "segmentation": rle})
    _, report = export(truth=truth)
    figures = report.figures()
    assert (figures.labels, figures.objects, figures.true_positives) == (3, 4, 3)
    assert figures.mean_iou == 1
    assert report.removed["tags"] == 1


def test_the_file_does_not_depend_on_the_truth(export, tmp_path):
    without, _ = export()
    truth = {record["image_id"]: [] for record in records(tmp_path)}
    assert export(truth=truth)[0] == without


def test_detectron2_reads_the_file(export, tmp_path):
    export()
    name = "labels_of_test_export"
    read = load_coco_json(str(tmp_path / "labels.json"), str(tmp_path / ROOT), name)
    MetadataCatalog.remove(name)
    third, empty, first = read  # by image id
    assert first["file_name"] == str(tmp_path / ROOT / "日本/fünf.png")
    assert [item["category_id"] for item in first["annotations"]] == [1, 0]
    assert (empty["annotations"], len(third["annotations"])) == ([], 1)


# A Detectron2 that knows nothing of this project: narrow Mask R-CNN, one step on the file.
PLAIN = """
import sys
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer

labels, images, output = sys.argv[1:]
register_coco_instances("labels", {{}}, labels, images)
cfg = get_cfg()
base = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
cfg.merge_from_file(model_zoo.get_config_file(base))
cfg.merge_from_list({keys!r})
cfg.DATASETS.TRAIN, cfg.OUTPUT_DIR = ("labels",), output
trainer = DefaultTrainer(cfg)
trainer.train()
losses = trainer.storage.latest()
assert {{"loss_mask", "loss_cls", "loss_rpn_cls"}} <= set(losses), losses
assert losses["loss_mask"][0] > 0, losses
assert "bestie_d2" not in sys.modules
"""
KEYS = [
    "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.RESNETS.DEPTH", 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.FPN.OUT_CHANNELS", 32,
    "MODEL.ROI_HEADS.NUM_CLASSES", 2, "MODEL.ROI_BOX_HEAD.FC_DIM", 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM", 16, "INPUT.MASK_FORMAT", "bitmask",
    "INPUT.MIN_SIZE_TRAIN", (48,), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0,
    "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 1,
]  # fmt: skip


def test_plain_detectron2_trains_on_the_file(export, tmp_path):
    export()
    for record in records(tmp_path):
        Path(record["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(record["file_name"])
    paths = [str(tmp_path / "labels.json"), str(tmp_path / ROOT), str(tmp_path / "output")]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN.format(keys=KEYS), *paths],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Removed 1 images with no usable annotations. 2 images left." in done.stdout
