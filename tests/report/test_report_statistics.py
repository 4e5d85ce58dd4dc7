"""Counts of cues and labels, checked by eye."""

from __future__ import annotations

import re

from bestie_d2.report.sections import Mark, cue_statistics, label_statistics

MARKS = [
    Mark("1", "fish", 0.95),
    Mark("1", "fish", 0.75),
    Mark("1", "bug", 0.25),
    Mark("2", "fish", 0.91),
]


def rows(block: tuple) -> list[list[str]]:
    return block[2]


def alternatives(blocks: list[tuple]) -> list[str]:
    charts = "".join(chart for _, chart, _ in blocks[2][1])
    return re.findall(r'aria-label="([^"]*)"', charts)


def test_cues_are_counted_by_class_score_and_image():
    parts = cue_statistics(MARKS, ["fish", "bug", "kite"], images=3, threshold=0.5)
    assert "4 cues in 3 images; the 3 that score above 0.5 are used in training." in parts[0][1]
    assert rows(parts[1]) == [
        ["fish", "3", "3", "2", "1.5"],
        ["bug", "1", "0", "0", "–"],
        ["kite", "0", "0", "0", "–"],
        ["all", "4", "3", "2", "1.5"],
    ]
    scores, used = alternatives(parts)
    assert scores == (
        "0.0: 0; 0.1: 0; 0.2: 1; 0.3: 0; 0.4: 0; 0.5: 0; 0.6: 0; 0.7: 1; 0.8: 0; 0.9: 2"
    )
    assert used == "0: 1; 1: 1; 2: 1"


def test_given_points_have_no_scores_worth_showing():
    given = [Mark("1", "fish", 1.0), Mark("2", "fish", 1.0)]
    parts = cue_statistics(given, ["fish"], images=2, threshold=0.7)
    assert alternatives(parts) == ["0: 0; 1: 2"]


def test_labels_are_counted_and_their_quality_is_told():
    figures = {"labels": 4, "precision": 75.0, "recall": None}
    parts = label_statistics(MARKS, ["fish", "bug"], images=2, figures=figures)
    assert "4 labels in 2 images. Against the truth: precision 75.0 %, recall - %." in parts[0][1]
    assert rows(parts[1]) == [
        ["fish", "3", "2", "1.5", "0.87"],
        ["bug", "1", "1", "1.0", "0.25"],
        ["all", "4", "2", "2.0", "0.71"],
    ]
    assert alternatives(parts)[1] == "0: 0; 1: 1; 2: 0; 3: 1"


def test_without_labels_and_without_truth():
    parts = label_statistics([], ["fish"], images=2, figures={"labels": 0})
    assert parts[0] == ("text", "0 labels in 2 images.")
    assert rows(parts[1]) == [["fish", "0", "0", "–", "–"], ["all", "0", "0", "–", "–"]]
    assert alternatives(parts)[1] == "0: 2"


def test_many_labels_an_image_share_bars():
    marks = [Mark(str(image), "cell", 1.0) for image in (1, 2, 3) for _ in range(9 * image)]
    parts = label_statistics(marks, ["cell"], images=4, figures={})
    expected = {0: 1, 3: 0, 6: 0, 9: 1, 12: 0, 15: 0, 18: 1, 21: 0, 24: 0, 27: 1}
    assert alternatives(parts)[1] == "; ".join(f"{n}: {count}" for n, count in expected.items())
    assert "labels in an image, from this number on" in str(parts[2])
