"""The cue file: what a classifier's maps become, in the form that training reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data import read_cues
from bestie_d2.evaluation.weak_components import CueSummary
from bestie_d2.runs.cue_extraction import CueRecipe, cues_and_counts, write_cue_file
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.storage.results import Results

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
RECORDS = [
    {"file_name": "in/b.png", "image_id": 9, "height": 8, "width": 12, "image_classes": [1]},
    {"file_name": "in/a.png", "image_id": "a", "height": 4, "width": 8, "image_classes": [0, 1]},
    {"file_name": "in/c.png", "image_id": 2, "height": 4, "width": 8, "image_classes": []},
]


def maps(**peaks: tuple[int, int]) -> dict:
    """Output of a classifier: (2, 4, 4) maps, at each class's peak 5, elsewhere below 0."""
    cams = torch.full((2, 4, 4), -1.0)
    for index, name in enumerate(("cat", "dog")):
        if name in peaks:
            cams[index][peaks[name]] = 5.0
    return {"cams": cams}


@pytest.fixture
def write(tmp_path):
    """Writes the cues of records to ``cues.json``, by a classifier's outputs on some of them."""
    results = Results(tmp_path / "cues.json")
    results.begin({})

    def write(
        found: list[tuple[dict, dict]], recipe: CueRecipe, records=RECORDS, truth=None
    ) -> CueSummary:
        for number, (record, output) in enumerate(found):
            result = cues_and_counts(record, output, recipe=recipe)
            results.put(record["image_id"], result, process=number % 2)
        run = LabelingRun(CfgNode(), "set", records, CATEGORIES)
        return write_cue_file(run, str(results.output), results, recipe.threshold, truth)

    return write


def test_cue_file(write, tmp_path):
    Image.fromarray(np.full((4, 8), 2, np.uint8)).save(tmp_path / "a.png")
    recipe = CueRecipe({"smoothing": 1, "kernel": 3}, 0.7, str(tmp_path), min_area=1)
    outputs = [maps(cat=(0, 0), dog=(1, 2)), maps(cat=(0, 3)), maps(cat=(0, 0))]
    summary = write(list(zip(RECORDS, outputs, strict=True))[::-1], recipe)
    content = json.loads((tmp_path / "cues.json").read_text())
    assert content["categories"] == CATEGORIES
    assert [image["id"] for image in content["images"]] == [9, "a", 2]
    assert content["images"][0] == {"id": 9, "file_name": "b.png", "height": 8, "width": 12}
    # b: dog's pixel (1, 2) of 4x4 covers rows 2..3, columns 6..8; its middle column is the peak.
    # a: cat's pixel (0, 3) covers row 0, columns 6..7, where the border's value goes on.
    assert [(p["image_id"], p["category_id"], p["point"]) for p in content["points"]] == [
        (9, 7, [7, 2]),
        ("a", 3, [7, 0]),
    ]
    # Bilinear values 3.75 and 5, each divided by itself + 1e-5.
    assert [p["score"] for p in content["points"]] == [0.999997, 0.999998]
    assert summary.images == 3
    assert summary.components == (1, 0, 0)  # a's map is one dog, and no cue of a dog

    cues = read_cues(str(tmp_path / "cues.json"), classes=["cat", "dog"])
    assert cues["b"].yx.tolist() == [[2, 7]]
    assert cues["b"].classes.tolist() == [1]
    assert len(cues["c"]) == 0


def test_cues_are_compared_with_the_truth(write):
    left = np.zeros((4, 8), np.uint8)
    left[:, :2] = 1
    cat, other = (mask_api.encode(np.asfortranarray(mask)) for mask in (left, 1 - left))
    truth = {"a": [{"category_id": 0, "segmentation": mask} for mask in (cat, other)], 2: []}
    outputs = [(RECORDS[1], maps(cat=(0, 0), dog=(2, 2))), (RECORDS[2], maps())]
    summary = write(outputs, CueRecipe({"smoothing": 1, "kernel": 3}, 0.7), truth=truth)
    assert summary.describe(0.7)[-2:] == [
        "2 true objects: 1 right, 1 wrong class",
        "2 cues: 1 right, 1 wrong class",
    ]
    unsure = write(outputs, CueRecipe({"smoothing": 1, "kernel": 3}, 1.0), truth=truth)
    assert unsure.describe(1.0)[-1:] == ["2 true objects: 2 missed"]


def test_images_that_were_left_out_are_not_in_the_file(write, tmp_path):
    assert write([(RECORDS[2], maps())], CueRecipe()).images == 1
    content = json.loads((tmp_path / "cues.json").read_text())
    assert [image["id"] for image in content["images"]] == [2]
    assert content["points"] == []


def test_a_weak_map_that_cannot_be_used_is_not_counted_with(write, tmp_path):
    Image.fromarray(np.zeros((4, 9), np.uint8)).save(tmp_path / "a.png")  # the image has 4x8
    summary = write([(RECORDS[1], maps())], CueRecipe(weak_maps=str(tmp_path)))
    assert (summary.images, summary.with_map, summary.components) == (1, 0, (0, 0, 0))


def test_names_of_images_in_sub_folders(write, tmp_path):
    records = [
        {**RECORDS[1], "file_name": "in/day 1/a.png", "image_id": 1, "label_name": "day 1/a"},
        {**RECORDS[1], "file_name": "in/day 2/a.png", "image_id": 2, "label_name": "day 2/a"},
        {**RECORDS[1], "file_name": "in/day 2/b.png", "image_id": 3, "mirrored_name": "day 2/b"},
    ]
    write([(record, maps(cat=(0, 0))) for record in records], CueRecipe(), records)
    images = json.loads((tmp_path / "cues.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["day 1/a.png", "day 2/a.png", "day 2/b.png"]
