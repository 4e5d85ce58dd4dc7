from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.errors import InputError
from bestie_d2.evaluation.semantic_iou import (
    SemanticIoUEvaluator,
    class_ious,
    confusion,
    mean_iou,
    semantic_iou,
    semantic_truth,
)


def annotation(rows, category_id, iscrowd=0):
    mask = np.array(rows, dtype=np.uint8, order="F")
    return {"category_id": category_id, "segmentation": mask_api.encode(mask), "iscrowd": iscrowd}


FIRST = annotation([[1, 1, 0, 0], [1, 1, 0, 0]], 0)
SECOND = annotation([[0, 1, 1, 0], [0, 0, 0, 0]], 1)
CROWD = annotation([[0, 0, 1, 1], [0, 0, 1, 0]], 0, iscrowd=1)


def test_truth_from_masks():
    record = {"height": 2, "width": 4}
    assert semantic_truth(record, []).tolist() == [[0] * 4] * 2
    truth = semantic_truth(record, [FIRST, SECOND, CROWD])
    assert truth.dtype == np.uint8
    assert truth.tolist() == [[1, 2, 2, 255], [1, 1, 255, 0]]


def test_confusion_by_hand():
    truth = np.array([[0, 0, 1, 1], [2, 255, 255, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 255], [0, 2, 255, 1]], np.uint8)
    counts = confusion(prediction, truth, 2)
    assert counts.tolist() == [
        [1, 1, 0, 0],  # background: found, taken for class 0
        [0, 2, 0, 1],  # class 0: found twice, predicted as nothing once
        [1, 0, 0, 0],  # class 1: taken for background
    ]
    assert class_ious(counts).tolist() == [1 / 3, 2 / 4, 0]
    assert mean_iou(counts) == pytest.approx((1 / 3 + 1 / 2) / 3)
    twice = confusion(np.tile(prediction, 2), np.tile(truth, 2), 2)
    assert (counts + counts).tolist() == twice.tolist()


def test_what_occurs_nowhere_does_not_count():
    truth = np.array([[0, 1]], np.uint8)
    counts = confusion(truth, truth, 2)
    assert math.isnan(class_ious(counts)[2])
    assert mean_iou(counts) == 1.0
    assert math.isnan(mean_iou(np.zeros((3, 4), np.int64)))


def test_figures_in_percent():
    truth = np.array([[0, 0, 1, 1, 2]], np.uint8)
    prediction = np.array([[0, 1, 1, 1, 0]], np.uint8)
    result = semantic_iou(confusion(prediction, truth, 2), ["cat", "dog"])
    assert result == {
        "mIoU": pytest.approx((1 / 3 + 2 / 3) / 3 * 100),
        "precision": pytest.approx(2 / 3 * 100),
        "recall": pytest.approx(2 / 3 * 100),
        "IoU-background": pytest.approx(100 / 3),
        "IoU-cat": pytest.approx(200 / 3),
        "IoU-dog": 0,
    }


def test_agrees_with_counting_pixel_by_pixel():
    random = np.random.default_rng(0)
    truth = random.choice([0, 1, 2, 3, 255], (20, 20)).astype(np.uint8)
    prediction = random.choice([0, 1, 2, 3, 255], (20, 20)).astype(np.uint8)
    known = truth != 255
    for index, iou in enumerate(class_ious(confusion(prediction, truth, 3))):
        found, there = (prediction == index) & known, truth == index
        assert iou == (found & there).sum() / (found | there).sum()


@pytest.fixture
def dataset(new_name):
    """Registers a data set of given records; returns its name."""

    def register(records):
        name = new_name()
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(thing_classes=["cat", "dog"])
        return name

    return register


def one_hot(rows):
    return torch.nn.functional.one_hot(torch.tensor(rows), 3).permute(2, 0, 1).float()


def test_evaluator_with_masks(dataset):
    record = {"image_id": 7, "height": 2, "width": 4, "annotations": [FIRST, SECOND]}
    evaluator = SemanticIoUEvaluator(dataset([record]), distributed=False)
    output = {"sem_seg": one_hot([[1, 2, 2, 0], [1, 1, 0, 0]])}
    for _ in range(2):  # an image that is shown twice counts once
        evaluator.process([record], [output])
    result = evaluator.evaluate()["sem_seg"]
    assert (result["mIoU"], result["IoU-cat"]) == (100, 100)
    evaluator.reset()
    evaluator.process([record], [{"sem_seg": one_hot([[1, 0, 2, 0], [1, 1, 0, 0]])}])
    assert evaluator.evaluate()["sem_seg"]["IoU-dog"] == 50


def test_crowds_are_ignored_by_the_evaluator(dataset):
    record = {"image_id": 1, "height": 2, "width": 4, "annotations": [FIRST, CROWD]}
    evaluator = SemanticIoUEvaluator(dataset([record]), distributed=False)
    evaluator.process([record], [{"sem_seg": one_hot([[1, 1, 2, 1], [1, 1, 2, 0]])}])
    result = evaluator.evaluate()["sem_seg"]
    assert (result["IoU-cat"], result["IoU-background"]) == (100, 100)
    assert math.isnan(result["IoU-dog"])


def test_evaluator_with_an_index_map_of_the_truth(dataset, tmp_path):
    path = tmp_path / "truth.png"
    Image.fromarray(np.array([[0, 255, 1, 1]], np.uint8)).save(path)
    record = {
        "image_id": "a",
        "height": 1,
        "width": 4,
        "annotations": [],
        "semantic_truth_file_name": str(path),
    }
    evaluator = SemanticIoUEvaluator(dataset([record]), distributed=False)
    evaluator.process([record], [{"sem_seg": one_hot([[0, 2, 1, 0]])}])
    result = evaluator.evaluate()["sem_seg"]
    assert result["IoU-cat"] == 50
    assert math.isnan(result["IoU-dog"])  # its pixel lies on the void


def test_without_any_truth_there_is_a_clear_word(dataset):
    with pytest.raises(InputError, match="no true masks"):
        SemanticIoUEvaluator(dataset([{"image_id": 1, "height": 1, "width": 1}]))
    with pytest.raises(InputError, match="not registered"):
        SemanticIoUEvaluator("nowhere")
