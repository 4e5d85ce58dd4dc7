"""What is said of pseudo labels, on masks drawn by hand."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as mask_api

from bestie_d2.evaluation.label_quality import PseudoLabelReport

# Digits are true objects by class; a letter is a label.
TRUTH = ["00..11", "00..11", "00....", "......"]
LABELS = ["aa..b.", "aa..b.", "......", ".cc..."]  # a: 4 of 6 pixels of 0; b: half of 1; c: nothing
OF = {"a": (0, 0.95), "b": (1, 0.5), "c": (0, 0.04)}  # class and score


def item(rows: list[str], letter: str, class_id: int, **more: float) -> dict:
    mask = np.array([[c == letter for c in row] for row in rows], dtype=np.uint8)
    rle = mask_api.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    return {"category_id": class_id, "segmentation": rle, **more}


def labels(letters: str) -> list[dict]:
    return [item(LABELS, x, OF[x][0], score=OF[x][1]) for x in letters]


def objects() -> list[dict]:
    return [item(TRUTH, str(class_id), class_id) for class_id in (0, 1)]


def report(*, with_truth: bool) -> PseudoLabelReport:
    result = PseudoLabelReport(3, with_truth=with_truth)
    truth = objects() if with_truth else None
    result.add(labels("abc"), {"tags": 2, "score": 1}, truth)
    result.add([], {"tags": 1, "score": 0}, truth)
    return result


def test_counts_and_quality():
    described = report(with_truth=True).describe()
    assert described[:3] == [
        "labels: 3 in 2 images, 1.50 an image; 50.0 % of the images have none",
        "instances removed: 3 by tags, 1 by score",
        "against the truth: 2 true positives at IoU 0.5, precision 66.7 %, recall 50.0 % of 4 "
        "objects, mean IoU of the true positives 58.3 %",  # of 2/3 and 1/2
    ]
    assert "each takes the free object" in described[3]
    assert described[4:] == [
        "4 true objects: 2 right, 2 missed",
        "3 instances: 2 right, 1 false alarm",
    ]


def test_table_of_the_classes_that_occur():
    lines = report(with_truth=True).table(["cat", "dog", "elk"]).splitlines()[2:]
    assert [line.replace(" %", "").split() for line in lines] == [
        ["cat", "1", "2", "2", "1", "50.0", "50.0", "66.7"],
        ["dog", "1", "1", "2", "1", "100.0", "50.0", "50.0"],
    ]
    lines = report(with_truth=False).table(["cat", "dog", "elk"]).splitlines()[2:]
    assert [line.split() for line in lines] == [["cat", "1", "2"], ["dog", "1", "1"]]


def test_histogram():
    lines = report(with_truth=True).histogram()
    assert len(lines) == 11
    assert lines[0] == "score      labels  true in %"
    assert lines[1] == "0.0 - 0.1       1        0.0  " + 40 * "#"
    assert lines[2] == "0.1 - 0.2       0          -"
    assert lines[6] == "0.5 - 0.6       1      100.0  " + 40 * "#"
    lines = report(with_truth=False).histogram()
    assert lines[10] == "0.9 - 1.0       1  " + 40 * "#"


def test_a_score_of_one_is_in_the_last_bar():
    result = PseudoLabelReport(1, with_truth=False)
    result.add([item(LABELS, "a", 0, score=1.0)], {}, None)
    assert result.histogram()[10].startswith("0.9 - 1.0       1")


def test_nothing_that_is_right_has_no_iou():
    result = PseudoLabelReport(3, with_truth=True)
    result.add([], {}, objects()[:1])
    assert (
        "precision -, recall 0.0 % of 1 objects, mean IoU of the true positives -"
        in (result.describe()[2])
    )
    (line,) = result.table(["cat", "dog", "elk"]).splitlines()[2:]
    assert line.split() == ["cat", "0", "0", "1", "0", "-", "0.0", "%", "-"]
    assert PseudoLabelReport(1, with_truth=True).table(["cat"]).startswith("class")


def test_without_truth_and_without_a_label():
    result = PseudoLabelReport(2, with_truth=False)
    result.add([], {}, None)
    assert result.describe() == [
        "labels: 0 in 1 images, 0.00 an image; 100.0 % of the images have none",
        "instances removed: none",
    ]
    assert all(line.endswith("0") for line in result.histogram()[1:])
