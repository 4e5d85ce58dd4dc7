"""True positives of labels, with IoUs written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as mask_api

from bestie_d2.evaluation.failures import match_labels
from bestie_d2.evaluation.label_quality import PseudoLabelReport, QualityFigures


def match(iou: list[list[float]], scores: list[float], classes=None, true_classes=None) -> list:
    """All of class 0 unless classes are given."""
    classes = classes or [0] * len(scores)
    true_classes = [0] * len(iou[0]) if true_classes is None else true_classes
    table = np.array(iou, dtype=float).reshape(len(classes), len(true_classes))
    return match_labels(table, np.array(scores), np.array(classes), np.array(true_classes)).tolist()


def test_the_surer_label_gets_the_object():
    assert match([[0.6], [0.9]], scores=[0.8, 0.7]) == [0, -1]
    assert match([[0.6], [0.9]], scores=[0.7, 0.8]) == [-1, 0]


def test_equal_scores_go_by_their_order():
    assert match([[0.6], [0.9]], scores=[0.7, 0.7]) == [0, -1]


def test_a_label_takes_the_best_object_that_is_free():
    assert match([[0.6, 0.8], [0.5, 0.9]], scores=[0.9, 0.8]) == [1, 0]
    assert match([[0.6, 0.8], [0.49, 0.9]], scores=[0.9, 0.8]) == [1, -1]


def test_the_threshold_itself_is_enough():
    assert match([[0.5]], scores=[0.1]) == [0]
    assert match([[0.4999]], scores=[0.1]) == [-1]


def test_another_class_is_no_match_and_leaves_the_object_free():
    assert match([[0.9], [0.6]], [0.9, 0.8], classes=[1, 0]) == [-1, 0]


def test_nothing_to_match():
    assert match([], scores=[], true_classes=[0, 0]) == []
    assert match([], scores=[0.5], true_classes=[]) == [-1]


def test_nothing_given_is_changed():
    iou = np.array([[0.9, 0.2]])
    match_labels(iou, np.array([0.5]), np.array([0]), np.array([0, 0]))
    assert iou.tolist() == [[0.9, 0.2]]


def strip(start: int, end: int, class_id: int) -> dict:
    """An object on some pixels of a row of 30."""
    rle = {"size": [1, 30], "counts": [start, end - start, 30 - end]}
    return {"category_id": class_id, "segmentation": mask_api.frPyObjects(rle, 1, 30), "score": 0.5}


def test_counts_add_up_over_images_and_classes():
    report = PseudoLabelReport(3, with_truth=True)
    labels = [strip(0, 9, 0), strip(10, 13, 0), strip(20, 27, 1)]
    report.add(labels, {}, [strip(0, 10, 0), strip(10, 20, 0), strip(20, 30, 1)])
    report.add([], {}, [strip(0, 10, 1), strip(10, 20, 1)])
    assert report.figures() == QualityFigures(3, 5, 2, 2 / 3, 2 / 5, pytest.approx(0.8))
    assert report.figures(0) == QualityFigures(2, 2, 1, 0.5, 0.5, pytest.approx(0.9))
    assert report.figures(1) == QualityFigures(1, 3, 1, 1.0, 1 / 3, pytest.approx(0.7))
    nothing = report.figures(2)
    assert (nothing.labels, nothing.objects, nothing.true_positives) == (0, 0, 0)
    assert np.isnan([nothing.precision, nothing.recall, nothing.mean_iou]).all()
