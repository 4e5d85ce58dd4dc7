"""Counts of cues, on a weak map drawn by hand and against a count component by component."""

from __future__ import annotations

import numpy as np
import torch

from bestie_d2.evaluation.weak_components import CueSummary, compare_summaries, count_cues
from bestie_d2.ops.components import find_components
from bestie_d2.structures import PointCues

# WSSS indices: class 0 in three pieces (the last of one pixel), class 1 in one; 9 is ignored.
MAP = ["11..11", "11..11", "......", "222..1"]


def index_map(rows: list[str] = MAP) -> np.ndarray:
    return np.array([[int(c.replace(".", "0")) for c in row] for row in rows], dtype=np.uint8)


def cues(*points: tuple[float, float, int, float]) -> PointCues:
    """From (y, x, class, score)."""
    values = torch.tensor(points, dtype=torch.float32).reshape(-1, 4)
    return PointCues(values[:, :2], values[:, 2].long(), values[:, 3])


FOUND = cues(
    (0, 0, 0, 0.9), (1, 1, 0, 0.8),  # two on the first piece
    (0, 5, 0, 0.75), (1, 4, 0, 0.7),  # one on the second: 0.7 is not above 0.7
    (0, 1, 1, 0.9),  # of class 1 on a piece of class 0
    (3, 1, 1, 0.2),
)  # fmt: skip


def test_counts_of_one_image():
    counts = count_cues(FOUND, [0, 1], threshold=0.7, index_map=index_map(), min_area=1)
    assert counts == {
        "classes": [[0, 1, 3, 1, 1, 1], [1, 1, 1, 1, 0, 0]],
        "written": 6,
        "has_map": True,
    }
    larger = count_cues(FOUND, [0, 1], threshold=0.7, index_map=index_map(), min_area=2)
    assert larger["classes"] == [[0, 1, 3, 0, 1, 1], [1, 1, 1, 1, 0, 0]]
    without_map = count_cues(FOUND, [0], threshold=0.1)
    assert without_map == {"classes": [[0, 1, 4, 0, 0, 0]], "written": 6, "has_map": False}


def test_counts_equal_those_of_component_by_component():
    random = np.random.default_rng(3)
    for _ in range(20):
        weak_map = (random.random((24, 30)) < 0.35).astype(np.uint8) * random.integers(1, 3)
        count = int(random.integers(0, 30))
        columns = [random.integers(0, 24, count), random.integers(0, 30, count)]
        points = np.stack([*columns, random.integers(0, 2, count), random.random(count)], axis=1)
        found = cues(*map(tuple, points.tolist()))
        rows = count_cues(found, [0, 1], threshold=0.4, index_map=weak_map, min_area=5)["classes"]
        for class_id in (0, 1):
            sure = found[(found.classes == class_id) & (found.scores > 0.4)]
            held = [
                sum(bool(mask[y, x]) for y, x in sure.pixels())
                for mask in find_components(weak_map, [class_id], min_area=5).masks()
            ]
            expected = [sum(n == 0 for n in held), sum(n == 1 for n in held)]
            expected.append(sum(n > 1 for n in held))
            assert rows[class_id] == [class_id, 1, len(sure), *expected]


def summary_of_two_images() -> CueSummary:
    summary = CueSummary(3)
    summary.add(count_cues(FOUND, [0, 1], threshold=0.7, index_map=index_map(), min_area=1))
    summary.add(count_cues(cues(), [1], threshold=0.7))
    return summary


def test_counts_add_up_and_are_told():
    summary = summary_of_two_images()
    assert (summary.images, summary.cues, summary.components) == (2, 4, (2, 1, 1))
    assert summary.by_class.tolist() == [[1, 3, 1, 1, 1], [2, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert summary.images_with.tolist() == [1, 0, 0, 1]
    assert summary.describe(0.7) == [
        "cues above 0.7: 4 in 2 images, 2.00 an image",
        "images with 0 / 1 / 2 / 3 or more of them: 50.0 % / 0.0 % / 0.0 % / 50.0 %",
        "images without any cue, however weak: 1",
        "weak components with none / exactly one / several of them: 50.0 % / 25.0 % / 25.0 % of 4 "
        "(the method takes those with exactly one for pseudo labels)",
        "weak maps that can be used: 1 of 2",
    ]
    lines = [line.split() for line in summary.table(["cat", "dog", "cow"]).splitlines()[2:]]
    assert lines == [
        ["cat", "1", "3", "3.00", "1", "1", "1", "33.3"],
        ["dog", "2", "1", "0.50", "1", "0", "0", "0.0"],
    ]


def test_no_image_is_no_error():
    summary = CueSummary(1)
    assert summary.describe(0.7)[0] == "cues above 0.7: 0 in 0 images, 0.00 an image"
    assert "alpha" in compare_summaries({0.5: summary}, "alpha")


def test_the_value_with_most_single_cues_is_pointed_out():
    table = compare_summaries({0.3: CueSummary(3), 0.5: summary_of_two_images()}, "alpha")
    first, second = table.splitlines()[2:]
    assert first.split() == ["0.3", "0", "0.00", "0.0", "0", "0", "0"]
    assert second.split()[:7] == ["0.5", "4", "2.00", "50.0", "2", "1", "1"]
    assert second.endswith("<- most components with exactly one cue")
