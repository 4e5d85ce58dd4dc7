"""Counts of cues and labels, checked by eye."""

from __future__ import annotations

import re

import pytest

from bestie_d2.report.label_counts import Mark, pseudo_labels, statistics

MARKS = [
    Mark("1", "fish", 0.95),
    Mark("1", "fish", 0.75),
    Mark("1", "bug", 0.25),
    Mark("2", "fish", 0.91),
]


def alternatives(blocks: list[tuple]) -> list[str]:
    charts = "".join(chart for _, chart, _ in blocks[1][1])
    return re.findall(r'aria-label="([^"]*)"', charts)


def test_cues_are_counted_by_class_score_and_image():
    used = [mark for mark in MARKS if mark.score > 0.5]
    blocks = statistics("cues", MARKS, used, ["fish", "bug", "kite"], images=3)
    assert blocks[0][2] == [
        ["fish", "3", "3", "2", "1.5", "0.87"],
        ["bug", "1", "0", "0", "–", "0.25"],
        ["kite", "0", "0", "0", "–", "–"],
        ["all", "4", "3", "2", "1.5", "0.71"],
    ]
    scores, counts = alternatives(blocks)
    assert scores == (
        "0.0: 0; 0.1: 0; 0.2: 1; 0.3: 0; 0.4: 0; 0.5: 0; 0.6: 0; 0.7: 1; 0.8: 0; 0.9: 2"
    )
    assert counts == "0: 1; 1: 1; 2: 1"


def test_given_points_have_no_scores_worth_showing():
    given = [Mark("1", "fish", 1.0), Mark("2", "fish", 1.0)]
    assert alternatives(statistics("cues", given, given, ["fish"], images=2)) == ["0: 0; 1: 2"]


def test_labels_are_all_used():
    blocks = statistics("labels", MARKS, MARKS, ["fish", "bug"], images=2)
    assert [name for name, _ in blocks[0][1]][:3] == ["class", "labels", "images with some"]
    assert blocks[0][2] == [
        ["fish", "3", "2", "1.5", "0.87"],
        ["bug", "1", "1", "1.0", "0.25"],
        ["all", "4", "2", "2.0", "0.71"],
    ]
    assert alternatives(blocks)[1] == "0: 0; 1: 1; 2: 0; 3: 1"


def test_without_labels():
    blocks = statistics("labels", [], [], ["fish"], images=2)
    assert [row[:2] for row in blocks[0][2]] == [["fish", "0"], ["all", "0"]]
    assert alternatives(blocks) == ["0: 2"]


def test_many_labels_an_image_share_bars():
    marks = [Mark(str(image), "cell", 1.0) for image in (1, 2, 3) for _ in range(9 * image)]
    blocks = statistics("labels", marks, marks, ["cell"], images=4)
    expected = {0: 1, 3: 0, 6: 0, 9: 1, 12: 0, 15: 0, 18: 1, 21: 0, 24: 0, 27: 1}
    assert alternatives(blocks) == ["; ".join(f"{n}: {count}" for n, count in expected.items())]
    assert "labels in an image, from this number on" in str(blocks[1])


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"precision": 75.0, "recall": None}, " Against the truth: precision 75.0 %, recall - %."),
        ({"labels": 0}, ""),
    ],
)
def test_what_the_export_measured_is_told(figures, told):
    class Finished:
        exported = {1: [{"category_id": 0, "score": 0.5}], 2: []}
        labels = type("Labels", (), {"class_names": ["fish"]})

        def finished(self, kind: str) -> list:
            return [type("Stage", (), {"manifest": {"figures": figures}})]

    assert pseudo_labels(Finished())[0] == ("text", f"1 labels in 2 images.{told}")
