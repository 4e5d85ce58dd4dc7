"""Points as people give them: on the border, twice, in other units, beside their class."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from bestie_d2.data import read_cues
from bestie_d2.data.labels.cue_positions import CuePositions, check_given_points, positions_of
from bestie_d2.errors import InputError
from bestie_d2.structures import PointCues

SIZES = {"a": (100, 128)}  # height, width


def read(tmp_path, *lines: str, sizes=SIZES) -> tuple[list, list[str]]:
    """Points as (x, y), and what was told."""
    (tmp_path / "a.txt").write_text("\n".join(lines))
    told: list[str] = []
    cues = read_cues(str(tmp_path), classes=["cat", "dog"], sizes=sizes, on_remark=told.append)
    return cues["a"].yx.flip(1).tolist(), told


@pytest.mark.parametrize(
    ("point", "moved"),
    [("127.5 50", [127, 50]), ("128 100", [127, 99]), ("-0.5 -1", [0, 0]), ("127 99", [127, 99])],
)
def test_a_point_within_a_pixel_of_the_border_is_moved_in(tmp_path, point, moved):
    found, told = read(tmp_path, f"{point} 0", "64 64 0")
    assert found == [moved, [64, 64]]
    assert [line.partition(": ")[2] for line in told] == [
        "1 points lie within a pixel outside of their image and are moved to its border"
    ] * (point != "127 99")


@pytest.mark.parametrize(
    ("point", "hint"),
    [
        ("128.5 50", ""),
        ("-1.5 50", ""),
        ("50 120", "; as (row, column) it would be inside: are x and y swapped?"),
    ],
)
def test_a_point_farther_out_is_refused(tmp_path, point, hint):
    with pytest.raises(InputError) as caught:
        read(tmp_path, f"{point} 0", "64 64 0")
    assert str(caught.value).endswith(f"of 100x128 pixels (height x width){hint}")


def test_given_points_of_a_class_within_a_pixel_are_one(tmp_path):
    found, told = read(tmp_path, "9 9 0", "10 9 0", "9 9 1", "9.9 9.9 0", "11.1 9 0")
    assert found == [[9, 9], [9, 9], pytest.approx([9.9, 9.9]), pytest.approx([11.1, 9])]
    assert ["1 points are there twice" in line for line in told] == [True]
    scored, told = read(tmp_path, "9 9 0 0.9", "9 9 0 0.8")
    assert (scored, told) == ([[9, 9], [9, 9]], [])


def test_fractions_of_the_sides_are_refused(tmp_path):
    with pytest.raises(InputError, match="all 2 points are within 0 and 1: they look like fracti"):
        read(tmp_path, "0.5 0.25 0", "1 0 0")
    assert read(tmp_path, "0 1 0") == ([[0, 1]], [])  # one corner is a place
    assert read(tmp_path, "0.5 0.5 0", sizes={"a": (2, 2)})[0] == [[0.5, 0.5]]


def cues_at(*xy: tuple[float, float]) -> PointCues:
    yx = torch.tensor(xy, dtype=torch.float32).flip(1)
    return PointCues(yx, torch.zeros(len(xy), dtype=torch.int64), torch.ones(len(xy)))


def wide_map() -> np.ndarray:
    """Class 0 in a block of rows 10..19, columns 100..109; class 1 and unknown beside."""
    index_map = np.zeros((120, 200), np.uint8)
    index_map[10:20, 100:110] = 1
    index_map[50:60, 50:60] = 2
    index_map[80:90, 80:90] = 255
    return index_map


def test_places_are_counted_by_what_the_map_holds():
    places = positions_of(cues_at((105, 15), (0, 0), (55, 55), (85, 85)), wide_map())
    expected = {"points": 4, "on_class": 1, "on_background": 1, "on_other": 1, "on_unknown": 1}
    assert {key: getattr(places, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("points", "question"),
    [
        ([(12, 104), (18, 109), (11, 101)], "are x and y swapped?"),
        ([(52, 10), (54, 15), (51, 9)], "are they in percent of the sides?"),
        ([(105, 105), (101, 102), (109, 109)], "is y counted from below?"),
        ([(105, 15), (0, 0), (199, 119)], ""),
    ],
)
def test_another_reading_that_fits_better_is_told(points, question):
    assert positions_of(cues_at(*points), wide_map()).hint.endswith(question)
    assert bool(positions_of(cues_at(*points), wide_map()).hint) == bool(question)


def test_points_that_label_nearly_nothing_are_refused(tmp_path, write_png):
    path = write_png(tmp_path / "a.png", wide_map())
    record = {
        "file_name": "a.jpg",
        "height": 120,
        "width": 200,
        "sem_seg_file_name": str(path),
        "cues": cues_at((0, 0)),
    }
    with pytest.raises(
        InputError,
        match=r"nearly nothing would be labeled: of 1 cues 0 lie .* look at a\.jpg beside",
    ):
        check_given_points("mine", [record], 2)
    with pytest.raises(InputError, match="none of its 1 images has a point"):
        check_given_points("mine", [{**record, "cues": PointCues.empty()}], 2)
    check_given_points("mine", [{**record, "cues": cues_at((105, 15))}], 2)
    assert CuePositions(points=20, on_class=1).nearly_none is False
    assert CuePositions(points=21, on_class=1).nearly_none is True


def test_cues_travel_as_arrays():
    cues = PointCues(torch.tensor([[1.5, 2.0]]), torch.tensor([3]), torch.tensor([0.25]))
    content = pickle.dumps(cues)
    there = pickle.loads(content)
    assert b"torch" not in content.replace(b"bestie_d2.structures", b"")
    assert (there.yx.tolist(), there.classes.tolist(), there.scores.tolist()) == (
        [[1.5, 2.0]], [3], [0.25],
    )  # fmt: skip
    assert (there.yx.dtype, there.classes.dtype) == (torch.float32, torch.int64)
