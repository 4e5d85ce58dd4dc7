"""tools/check_data.py: what it tells of data that fit, for every kind of configuration."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from checked_data import BESTIE, CROWD, SQUARE, lines_under, write_cues, write_truth
from PIL import Image
from pycocotools import mask as mask_api

MASKS = {"MODEL.ROI_HEADS.NUM_CLASSES": 2, "INPUT.MASK_FORMAT": "bitmask"}


def test_a_crop_that_the_backbone_does_not_take_is_told(check):
    printed = check("bestie_shapes", {**BESTIE, "INPUT.BESTIE.CROP_SIZE": 129})
    assert (
        "before you train: INPUT.BESTIE.CROP_SIZE is 129, but hrnet_w18_small takes images with "
        "sides that are multiples of 32: set it to 128 or 160" in printed
    )
    assert "before you train" not in check("bestie_shapes", BESTIE)


def test_data_that_fit_bestie(check, folder):
    for jobs in ("1", "2"):
        printed = check("bestie_shapes", BESTIE, "--jobs", jobs, "--draw", "2")
        assert f"images: {folder}/images\n  tags or points: {folder}/tags.json" in printed
        assert f"weak maps: {folder}/maps\n  cues: {folder}/cues.json" in printed
        rows = [line.split() for line in printed.splitlines()]
        assert ["cat", "2", "40.0", "2", "3", "0", "1", "1"] in rows
        assert ["dog", "3", "60.0", "3", "2", "1", "2", "0"] in rows
        assert "1 of 5 images have no class" in printed
        assert "20.0 % / 60.0 % / 20.0 % of 5 (the method takes those" in printed
        assert "training would start with 3 pseudo instances, in 3 of 5 images" in printed
        assert "4 maps show a class that the image is not tagged with: fünf, 日本, d, e" in printed
        missing = lines_under(printed, "images that are not in the cues")
        assert missing == ["images that are not in the cues: 1", f"{folder}/images/日本.png"]
        assert printed.rstrip().endswith("a training could start")
        pictures = folder / "output/data_check"
        assert f"\n{pictures}/1-fünf.png: cat\n{pictures}/2-e.png: dog\n" in printed
    with Image.open(pictures / "1-fünf.png") as picture:
        width, height = picture.size
    assert width > 4 * 61 * 6 > height > 40 * 6  # four pictures of 61x40 pixels, enlarged
    drawn = np.asarray(Image.open(pictures / "1-fünf.png")).astype(int)
    first, last = drawn[34:, 8 : 8 + 366], drawn[34:, -8 - 366 : -8]
    changed = np.abs(first - last).max(axis=-1) > 0
    assert changed[:110].mean() > 0.9  # the cat, one pseudo instance, is in the upper half
    assert not changed[125:].any()


def test_components_that_would_be_split_are_counted_and_drawn(check, folder):
    split = {**BESTIE, "MODEL.BESTIE.SPLIT_WEIGHT": "0.5"}
    pictures = {}
    for name, changes in (("whole", BESTIE), ("split", split)):
        printed = check("bestie_shapes", changes, "--draw", "5")
        started = re.search(r"start with (\d) pseudo instances, in (\d) of 5 images", printed)
        assert started.groups() == {"whole": ("3", "3"), "split": ("5", "3")}[name]
        files = sorted((folder / "output/data_check").glob("*.png"))
        pictures[name] = [file.read_bytes() for file in files]
    same = [a == b for a, b in zip(pictures["whole"], pictures["split"], strict=True)]
    assert same.count(False) == 1  # the image with two cues in a component


@pytest.mark.parametrize(("base", "node"), [("pam_shapes", "PAM"), ("wsss_shapes", "WSSS")])
def test_networks_that_learn_from_tags(base, node, check, folder):
    (folder / "tags.csv").write_text("fünf.png,cat\nnot there.png,dog\nd.png,\ne.png,dog\n")
    changes = {f"MODEL.{node}.NUM_CLASSES": 2, "MODEL.WEIGHTS": folder / "first.pth"}
    entry = {"tags": "tags.csv"}
    printed = check(base, changes, entry=entry, code=2)
    assert f"  tags or points: {folder}/tags.csv\n" in printed
    assert "weak maps" not in printed
    assert lines_under(printed, "missing images") == [
        "missing images: 1",
        f"image {folder}/images/not there.png: no such file",
    ]
    assert lines_under(printed, "weights") == [
        "weights: 1",
        f"MODEL.WEIGHTS {folder}/first.pth: no such file",
    ]
    shutil.copy(folder / "images/e.png", folder / "images/not there.png")
    torch.save({"model": {}}, folder / "first.pth")
    printed = check(base, changes, "--draw", "9", entry=entry)
    assert printed.count("/data_check/") == 4
    assert "/data_check/3-d.png: no class\n" in printed
    assert "1 of 4 images have no class" in printed
    printed = check(base, {**changes, "MODEL.WEIGHTS": "timm://one"}, entry=entry)
    assert "MODEL.WEIGHTS: timm://one, not looked at: fetched when training starts" in printed


def test_mask_rcnn(check, folder):
    write_truth(folder, (1, 3, [SQUARE]), (1, 3, [SQUARE]), (11, 7, [SQUARE]), CROWD)
    entry = {"annotations": "truth.json"}
    printed = check("mrcnn_shapes", MASKS, "--draw", "2", entry=entry)
    rows = [line.split() for line in printed.splitlines()]
    assert ["cat", "1", "20.0", "2"] in rows
    assert ["dog", "1", "20.0", "1"] in rows  # without the crowd
    assert "3 of 5 images have no class" in printed
    assert "/data_check/1-fünf.png: cat\n" in printed
    bad = {
        "[1, 2, 3, 4, 5, 6]": "its mask is [1, 2, 3, 4, 5, 6], expected polygons or RLE",
        "[[1, 2, 3, 4]]": "a polygon of 4 numbers, expected x, y of three corners or more",
        '{"size": [40, 60], "counts": "0"}': "its mask is [40, 60], its image [40, 61] (height",
    }
    masks = [json.loads(mask) for mask in bad]
    good = [(1, 3, [[2, 2, 12 + n, 2, 12 + n, 12, 2, 12]]) for n in range(30)]
    write_truth(folder, *((1, 3, mask) for mask in (*masks, [])), *good, CROWD)
    printed = check("mrcnn_shapes", MASKS, entry=entry)
    _, empty, told = lines_under(printed, "true objects")
    assert empty == f"{folder}/truth.json: 1 object without a pixel is left out"
    assert told.startswith(f"{folder}/truth.json: 3 of 35 objects cannot be used and are left out")
    for number, reason in enumerate(bad.values()):
        assert f"annotations[{number}] (image fünf.png): {reason}" in told
    write_truth(folder, *((1, 3, mask) for mask in masks), *good[:20], CROWD)
    printed = check("mrcnn_shapes", MASKS, entry=entry, code=2)
    assert f"{folder}/truth.json: 3 of 24 objects cannot be used: annotations[0] (im" in printed
    write_truth(folder, CROWD)
    printed = check("mrcnn_shapes", MASKS, entry=entry, code=2)
    assert "none of the 5 images of" in printed
    assert lines_under(printed, "classes that no image of .* has")[1:] == ["cat", "dog"]


def test_instance_labels_take_the_place_of_cues(check, folder):
    content = json.loads((folder / "tags.json").read_text())
    masks = np.zeros((40, 61, 2), np.uint8, order="F")
    masks[2:12, 2:12, 0] = masks[30:32, 30:31, 1] = 1  # 100 pixels, and 2: too small
    content["annotations"] = [
        {"image_id": 1, "category_id": 3, "score": 0.9}
        | {"segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}}
        for rle in mask_api.encode(masks)
    ]
    (folder / "labels.json").write_text(json.dumps(content))
    key = "DATASETS.INSTANCE_LABELS"
    printed = check("bestie_shapes", {**BESTIE, key: folder / "labels.json"}, "--draw", "1")
    assert "training would start with 1 pseudo instances, in 1 of 5 images" in printed
    assert f"  instance labels: {folder}/labels.json\n" in printed
    drawn = np.asarray(Image.open(folder / "output/data_check/1-fünf.png")).astype(int)
    first, last = drawn[34:, 8 : 8 + 366], drawn[34:, -8 - 366 : -8]
    changed = np.abs(first - last).max(axis=-1) > 0
    assert changed[12:72, 12:72].mean() > 0.9  # six pixels for one
    assert not changed[80:].any()
    printed = check("bestie_shapes", {**BESTIE, key: folder / "tags.json"}, code=2)
    assert "tags.json: annotations[0] has no 'segmentation'" in printed


def test_the_root_of_all_data_is_told(check, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert f"DETECTRON2_DATASETS: {tmp_path}\n" in check("bestie_shapes", BESTIE)
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert f"DETECTRON2_DATASETS (not set): {Path.cwd()}/datasets\n" in check(
        "bestie_shapes", BESTIE
    )


def test_what_a_list_passes_over_is_told(check, folder):
    content = json.loads((folder / "tags.json").read_text())
    content["annotations"][0]["iscrowd"] = "1"
    (folder / "tags.json").write_text(json.dumps(content))
    printed = check("bestie_shapes", BESTIE)
    (line,) = lines_under(printed, "lists of images, tags and classes")[1:]
    assert line == (
        f"{folder}/tags.json: 1 annotations are crowds (iscrowd) and give no tag; by that 1 of 5 "
        "images lose one"
    )


def test_points_beside_their_class_are_told_and_refused_where_all_are(check, folder):
    points = {**BESTIE, "MODEL.BESTIE.SUPERVISION": "points"}
    printed = check("bestie_shapes", points)
    assert re.search(r"of 5 cues 5 lie on the map of their class, 0 on background", printed)
    write_cues(folder, {image_id: [(5, 30, 3)] for image_id in (1, 11, 41, 31)})
    printed = check("bestie_shapes", points, code=2)
    assert "nearly nothing would be labeled: of 4 cues 0 lie on the map of their class" in printed
    printed = check("bestie_shapes", BESTIE)  # of a classifier: only told
    assert "of 4 cues 0 lie on" in lines_under(printed, "cues beside their class")[1]
