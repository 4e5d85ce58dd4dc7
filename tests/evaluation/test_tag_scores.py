from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog

from bestie_d2.evaluation import ImageTagEvaluator, image_tag_scores

# Class a: by falling logit hit, miss, hit, of 2: precision 1 and 2/3 at its hits, so 5/6.
# Class b: found in every image at rank 1 and 2. Class c occurs nowhere.
LOGITS = np.array([[3.0, 2.0, -9.0], [1.0, 1.0, -9.0], [-1.0, -3.0, -9.0]])
TAGS = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)


def test_literal_scores():
    scores = image_tag_scores(LOGITS, TAGS, ["a", "b", "c"])
    assert scores["AP-a"] == pytest.approx(100 * 5 / 6)
    assert scores["AP-b"] == pytest.approx(100)
    assert math.isnan(scores["AP-c"])
    assert scores["mAP"] == pytest.approx((100 * 5 / 6 + 100) / 2)
    # found: a, b of image 1 and a, b of image 2; 3 of these 4 are right, 3 of 4 tags are found
    assert scores["precision"] == pytest.approx(75)
    assert scores["recall"] == pytest.approx(75)
    assert scores["F1"] == pytest.approx(75)


def test_nothing_found_and_nothing_there():
    scores = image_tag_scores(np.full((2, 1), -1.0), np.zeros((2, 1), bool), ["a"])
    assert math.isnan(scores["mAP"])
    assert (scores["F1"], scores["precision"], scores["recall"]) == (0, 0, 0)


def test_the_evaluator_gathers_what_the_model_says():
    MetadataCatalog.get("test_image_tags").set(thing_classes=["a", "b", "c"])
    evaluator = ImageTagEvaluator("test_image_tags")
    for number, (logits, tags) in enumerate(zip(LOGITS, TAGS, strict=True)):
        item = {"image_id": number, "image_classes": np.flatnonzero(tags).tolist()}
        evaluator.process([item], [{"tag_logits": torch.from_numpy(logits)}])
    result = evaluator.evaluate()["image_tags"]
    expected = image_tag_scores(LOGITS, TAGS, ["a", "b", "c"])
    assert result == pytest.approx(expected, nan_ok=True)
    evaluator.reset()
    assert math.isnan(evaluator.evaluate()["image_tags"]["mAP"])
