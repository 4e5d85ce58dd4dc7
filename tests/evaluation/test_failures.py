"""Failures by kind: scenes drawn by hand with literal answers; that the kinds are partitions."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from bestie_d2.evaluation.failures import (
    INSTANCES,
    KINDS,
    OBJECTS,
    FailureEvaluator,
    all_counts,
    best_threshold,
    describe_failures,
    judge_cues,
    judge_instances,
)
from bestie_d2.structures import PointCues

CAT, DOG = 0, 1


def strip(drawing: str, class_id: int = CAT, score: float = 0.5) -> dict:
    """An object on the pixels of a row of 20 that are drawn with #."""
    row = np.array([[letter == "#" for letter in drawing.ljust(20, ".")]], np.uint8)
    rle = mask_api.encode(np.asfortranarray(row))
    return {"category_id": class_id, "segmentation": rle, "score": score}


def kinds_of(found: list[dict], truth: list[dict]) -> tuple[list[str], list[str]]:
    kinds, _, _ = judge_instances(found, truth)
    return kinds.instances.tolist(), kinds.objects.tolist()


LEFT, RIGHT_CAT = strip("####"), strip("....####")


def test_an_instance_finds_its_object():
    assert kinds_of([strip("###")], [LEFT, RIGHT_CAT]) == (["right"], ["right", "missed"])


def test_one_instance_over_two_neighbours_is_merged():
    assert kinds_of([strip("..####..")], [LEFT, RIGHT_CAT]) == (["merged"], ["merged"] * 2)
    large, small = strip("######"), strip("......##")  # the larger one is found all the same
    assert kinds_of([strip("########")], [large, small]) == (["right"], ["right", "merged"])


def test_what_reaches_far_beyond_its_object_is_leaked():
    assert kinds_of([strip("#" * 9)], [LEFT]) == (["leaked"], ["leaked"])  # IoU 4/9
    assert kinds_of([strip("#" * 8)], [LEFT]) == (["right"], ["right"])  # IoU 1/2


def test_an_object_in_parts():
    parts = [strip("#"), strip("...#")]
    assert kinds_of(parts, [LEFT]) == (["fragment"] * 2, ["fragment"])
    half_beside = strip("...###")  # IoU 1/6, a third of it on the object
    assert kinds_of([half_beside], [LEFT]) == (["fragment"], ["fragment"])


def test_a_second_instance_of_an_object_is_repeated():
    found = [strip("###", score=0.4), strip("####", score=0.6)]
    assert kinds_of(found, [LEFT]) == (["repeated", "right"], ["right"])


def test_another_class():
    assert kinds_of([strip("####", DOG)], [LEFT]) == (["wrong class"], ["wrong class"])
    # on a cat more than on the dog that it covers
    dog = strip(".....#", DOG)
    found = [strip("######", DOG)]
    assert kinds_of(found, [LEFT, dog]) == (["wrong class"], ["wrong class", "leaked"])
    # a dog's instance that covers a cat beside it: what was said of the dog goes first
    dogs = strip("....########", DOG)
    assert kinds_of([strip("############", DOG)], [LEFT, dogs]) == (
        ["right"],
        ["wrong class", "right"],
    )


def test_nothing_there():
    assert kinds_of([strip("..........####")], [LEFT]) == (["false alarm"], ["missed"])
    # 1 of 15 pixels on the object, of which it has a quarter
    assert kinds_of([strip("...###############")], [LEFT]) == (["false alarm"], ["missed"])
    assert kinds_of([LEFT], []) == (["false alarm"], [])
    assert kinds_of([], [LEFT]) == ([], ["missed"])
    assert kinds_of([], []) == ([], [])


def cues(*rows: tuple[int, int, float]) -> PointCues:
    """Column, class and score of each, in the one row."""
    x, classes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    yx = torch.tensor([(0.0, column) for column in x]).reshape(-1, 2)
    return PointCues(yx, torch.tensor(classes, dtype=torch.int64), torch.tensor(scores))


def test_cues():
    truth = [LEFT, RIGHT_CAT, strip("........####", DOG), strip("............##")]
    found = cues((1, CAT, 0.6), (3, CAT, 0.9), (5, CAT, 0.8), (9, CAT, 0.7), (18, DOG, 0.7))
    kinds = judge_cues(found, truth)
    assert kinds.instances.tolist() == ["repeated", "right", "right", "wrong class", "false alarm"]
    assert kinds.objects.tolist() == ["repeated", "right", "wrong class", "missed"]


def test_of_objects_that_overlap_a_cue_is_on_the_smallest():
    kinds = judge_cues(cues((1, CAT, 0.9)), [strip("########"), strip("##")])
    assert kinds.objects.tolist() == ["missed", "right"]


def test_no_cues_or_no_objects():
    assert judge_cues(cues(), [LEFT]).objects.tolist() == ["missed"]
    assert judge_cues(cues((1, CAT, 0.9)), []).instances.tolist() == ["false alarm"]


things = st.lists(
    st.tuples(st.integers(0, 19), st.integers(1, 20), st.sampled_from([CAT, DOG]), st.floats(0, 1)),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(things, things)
def test_each_thing_is_of_one_kind_and_the_numbers_of_right_ones_agree(found, truth):
    instances, objects = (
        [strip("." * start + "#" * min(n, 20 - start), c, score) for start, n, c, score in rows]
        for rows in (found, truth)
    )
    points = cues(*((start, class_id, score) for start, _, class_id, score in found))
    for kinds in (judge_instances(instances, objects)[0], judge_cues(points, objects)):
        counts = all_counts(kinds.counts())
        assert set(kinds.instances) <= set(KINDS) - {"missed"}
        assert set(kinds.objects) <= set(KINDS) - {"false alarm"}
        sums = Counter(what.split("-")[0] for what, n in counts.items() for _ in range(n))
        assert (sums[INSTANCES], sums[OBJECTS]) == (len(found), len(truth))
        objects_found = counts["objects-right"]
        objects_found += counts["objects-repeated"]
        assert counts["instances-right"] == objects_found


def test_the_threshold_of_the_largest_f1():
    scores, hits = np.array([0.2, 0.9, 0.5, 0.8]), np.array([False, True, True, False])
    assert best_threshold(scores, hits, 2) == 0.5  # F1 of 2/3, 1/2, 4/5, 2/3
    assert best_threshold(scores, hits, 9) == 0.5
    assert best_threshold(np.array([0.5, 0.5]), np.array([True, False]), 1) == 0.5
    assert best_threshold(scores, np.zeros(4, bool), 2) == 0.2
    assert best_threshold(np.zeros(0), np.zeros(0, bool), 2) == 0.0


def test_lines_name_what_there_is():
    counts = {"objects-missed": 2, "objects-right": 1, "instances-right": 1}
    assert describe_failures(counts, "cues") == [
        "3 true objects: 1 right, 2 missed",
        "1 cues: 1 right",
    ]
    assert describe_failures({}) == []


def test_a_data_set_is_evaluated(scene, tmp_path):
    """Image 1 of the drawn set has two cats above and a dog below, image 2 one of each."""
    evaluator = FailureEvaluator(scene(), str(tmp_path / "out"), distributed=False)
    rows = {1: [["111111", "111111", "......", "2222.."], ["......"] * 3 + ["22...."]], 2: []}
    for image_id, drawings in rows.items():
        evaluator._kept[image_id] = [
            {
                "category_id": int(digit) - 1,
                "segmentation": mask_api.encode(
                    np.asfortranarray(
                        [[pixel == digit for pixel in row] for row in drawing], np.uint8
                    )
                ),
                "score": score,
            }
            for number, drawing in enumerate(drawings)
            for digit, score in (("1", 0.9), ("2", 0.8 - 0.7 * number))
            if any(digit in row for row in drawing)
        ]
    figures = evaluator.evaluate()["failures"]
    assert figures.pop("score") == 0.8  # the second, weak dog is not counted
    assert {name: n for name, n in figures.items() if n} == {
        "objects-right": 1,
        "objects-merged": 2,
        "objects-missed": 2,
        "instances-right": 1,
        "instances-merged": 1,
    }
    assert json.loads((tmp_path / "out" / "failures.json").read_text()) == {
        "score": 0.8,
        "images": [
            {"image_id": 1, "instances-merged": 1, "objects-merged": 2},
            {"image_id": 2, "objects-missed": 2},
        ],
    }
