"""tools/check_data.py: every failure that it tells of, all of them at once, with its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from checked_data import BESTIE, CROWD, SQUARE, lines_under, write_cues, write_truth
from PIL import Image

from bestie_d2.data import register_weak_dataset


def spoil(folder: Path) -> None:
    """One bad file of each kind."""
    images, maps = folder / "images", folder / "maps"
    (images / "fünf.png").unlink()
    content = (images / "a b.png").read_bytes()
    (images / "a b.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (9, 8)).save(images / "日本.png")
    (maps / "fünf.png").unlink()
    (maps / "a b.png").write_text("text")
    Image.new("L", (9, 8)).save(maps / "日本.png")
    Image.new("L", (46, 49), 3).save(maps / "d.png")
    Image.new("L", (41, 52), 1).save(maps / "e.png")  # only the cat; its tag is dog
    write_cues(folder, {41: [(50, 60 + k, 7) for k in range(7)]})


def test_every_problem_is_told_with_its_file(check, folder):
    spoil(folder)
    printed = check("bestie_shapes", BESTIE, "--draw", "1", code=2)
    assert printed.splitlines()[-1] == "error: a training would fail; problems: 14"
    images, maps = folder / "images", folder / "maps"
    for kind, line in {
        "missing images": f"image {images}/fünf.png: no such file",
        "images that cannot be read": f"image {images}/a b.png: not a readable image",
        "images of another size than their annotation says": f"image {images}/日本.png: 8x9 pixels",
        "missing weak maps": f"index map {maps}/fünf.png: no such file",
        "weak maps that cannot be read": f"index map {maps}/a b.png: not a readable PNG",
        "weak maps of another size than their image": f"index map {maps}/日本.png: 8x9 pixels",
        "weak maps with an index that is no class": f"index map {maps}/d.png: index 3, expected",
    }.items():
        count, only = lines_under(printed, kind)
        assert count == f"{kind}: 1"
        assert only.startswith(line)
    count, *few, more = lines_under(printed, "cues")
    assert (count, len(few), more) == ("cues: 7", 5, "and 2 more")
    assert few[0].startswith(f"{folder}/cues.json: image e.png: point (x, y) = (50, 60) is outside")
    assert "1 maps lack a class that the image is tagged with: e" in printed
    assert "1 maps show a class that the image is not tagged with: e" in printed
    assert lines_under(printed, "pseudo instances")[1].endswith("training would start without any")


@pytest.mark.parametrize(
    ("changes", "entry", "kind", "line"),
    [
        ({}, {"tags": "no.json"}, "lists of images, tags and classes", "no.json: cannot be read"),
        ({"MODEL.BESTIE.NUM_CLASSES": 3}, None, "lists of .*", "the model has 3 classes, the"),
        ({"MODEL.BESTIE.SIGMA": 0}, None, "configuration", "MODEL.BESTIE.SIGMA is 0.0, expected"),
        ({"DATASETS.TRAIN": "()"}, None, "configuration", "DATASETS.TRAIN is empty: name a data"),
        ({"DATASETS.TRAIN": "('no',)"}, None, "lists of .*", "data set 'no' is not registered"),
        ({}, {"tags": "tags.json"}, "weak maps", "is registered without them: set DATASETS.WEAK_"),
        ({"DATASETS.WEAK_MAPS": "no"}, None, "weak maps", "weak maps no: no such folder"),
        ({"DATASETS.CUES": "no.json"}, None, "cues", "no.json: cannot be read"),
        ({"TEST.LABEL_PROGRESS.DATASET": "no"}, None, "TEST.LABEL_PROGRESS", "'no' is not regis"),
    ],
)
def test_what_stops_a_training_before_the_first_image(changes, entry, kind, line, check):
    printed = check("bestie_shapes", {**BESTIE, **changes}, entry=entry, code=2)
    count, told = lines_under(printed, kind)
    assert count.endswith(": 1")
    assert line in told


@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02"])
def test_weights_that_are_none(name, content, check, folder):
    path = folder / name
    path.write_bytes(content)
    printed = check("bestie_shapes", {**BESTIE, "MODEL.WEIGHTS": path}, code=2)
    count, told = lines_under(printed, "weights")
    assert count == "weights: 1"
    assert told.startswith(f"checkpoint {path}: not readable as PyTorch weights (")


@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl"])
def test_weights_that_hold_a_program(name, check, folder):
    mark, path = folder / "it_ran", folder / name
    path.write_bytes(f"cos\nsystem\n(Vtouch {mark}\ntR.".encode())
    printed = check("bestie_shapes", {**BESTIE, "MODEL.WEIGHTS": path}, code=2)
    count, told = lines_under(printed, "weights")
    assert count == "weights: 1"
    assert told.startswith(f"checkpoint {path}: holds os.system, which is no weights: not loaded")
    assert not mark.exists()


@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_an_output_that_is_a_file(below, check, folder):
    path = folder / "output"
    path.touch()
    printed = check("bestie_shapes", {**BESTIE, "OUTPUT_DIR": f"{path}{below}"}, code=2)
    line = f"OUTPUT_DIR {path}{below}: cannot be made a folder ({path} is a file)"
    assert lines_under(printed, "configuration") == ["configuration: 1", line]


RLE = {"size": [40, 61], "counts": [0, 40 * 61]}
OBJECTS = [  # a change that makes it none, and what is said of it
    ({"image_id": 99}, "truth.json: 1 of 2 objects cannot be used and are left out: annotations[0]:"
     " image id 99 is not in the file's list"),
    ({"segmentation": {"size": [40, 61]}}, "its RLE has the 'counts' None, expected runs"),
    ({"segmentation": {**RLE, "counts": "0"}}, "the counts of its RLE are not those of a mask"),
    ({"segmentation": {**RLE, "counts": "\x7f"}}, "the counts of its RLE are not those of a mask"),
]  # fmt: skip


@pytest.fixture
def spoilt(folder) -> Callable[[dict], Path]:
    """Writes a file of true objects with these changes to the first one."""

    def write(change: dict) -> Path:
        write_truth(folder, (1, 3, RLE), CROWD)
        content = json.loads((folder / "truth.json").read_text())
        content["annotations"][0] |= change
        (folder / "truth.json").write_text(json.dumps(content))
        return folder / "truth.json"

    return write


@pytest.mark.parametrize(("change", "line"), OBJECTS)
def test_objects_that_are_none(change, line, check, folder, spoilt):
    path = spoilt(change)
    content = json.loads(path.read_text())
    content["annotations"] += [{**content["annotations"][1], "iscrowd": 0}]
    path.write_text(json.dumps(content))
    entry, changes = {"annotations": "truth.json"}, {"MODEL.ROI_HEADS.NUM_CLASSES": 2}
    printed = check("mrcnn_shapes", changes, entry=entry)
    assert line.replace("of 2", "of 3") in lines_under(printed, "true objects")[1]


@pytest.mark.parametrize(("change", "line"), OBJECTS)
def test_true_objects_that_are_none(change, line, check, folder, spoilt):
    name = f"truth_of_{folder.parent.name}"
    lists = {"tags": str(folder / "tags.json"), "annotations": str(spoilt(change))}
    register_weak_dataset(name, images=str(folder / "images"), **lists)
    printed = check("bestie_shapes", BESTIE, test=(name,))
    assert line in lines_under(printed, "true objects")[1]


def test_boxes_to_learn_from_that_are_none(check, folder, spoilt):
    spoilt({"bbox": [1, 2]})
    entry, changes = {"annotations": "truth.json"}, {"MODEL.ROI_HEADS.NUM_CLASSES": 2}
    printed = check("mrcnn_shapes", changes, entry=entry, code=2)
    assert "'bbox' of an object is [1, 2], expected [left" in lines_under(printed, "lists of .*")[1]


def test_cues_that_are_of_other_images(check, folder):
    (folder / "others").mkdir()
    printed = check("bestie_shapes", {**BESTIE, "DATASETS.CUES": folder / "others"}, code=2)
    assert "none of the data set's 5 images is in it" in printed


def test_test_sets(check, folder):
    write_truth(folder, (1, 3, [SQUARE]), CROWD)
    entry = {"tags": "tags.json", "weak_maps": "maps", "cues": "cues.json"}
    train = f"train_of_{folder.parent.name}"
    printed = check("bestie_shapes", BESTIE, entry=entry, test=(train,), code=2)
    assert f"test set {train}: the images of the training set" in printed
    assert f"data set '{train}' has no true masks" in printed
    printed = check("bestie_shapes", BESTIE, entry=entry, test=("no",), code=2)
    assert lines_under(printed, "lists of .*")[1].startswith("data set 'no' is not registered")


def test_mask_rcnn_needs_masks(check):
    printed = check("mrcnn_shapes", {"MODEL.ROI_HEADS.NUM_CLASSES": 2}, code=2)
    assert "has no masks to train on; register it with 'annotations'" in printed


def test_classes_of_training_and_test_sets_are_compared(check, folder):
    write_truth(folder, (1, 3, [SQUARE]), CROWD)
    content = json.loads((folder / "truth.json").read_text())
    for second in ("hound", "dog"):
        content["categories"][1]["name"] = second
        path = folder / f"{second}.json"
        path.write_text(json.dumps(content))
        name = f"{second}s_of_{folder.parent.name}"
        register_weak_dataset(name, images=str(folder / "images"), annotations=str(path))
    hounds, dogs = (f"{second}s_of_{folder.parent.name}" for second in ("hound", "dog"))
    printed = check("bestie_shapes", BESTIE, test=(hounds,), code=2)
    assert f"those of '{hounds}' of DATASETS.TEST other ones (cat, hound)" in printed
    printed = check("bestie_shapes", BESTIE, test=(dogs,))
    assert f"test set {dogs}: 5 images" in printed
    assert "4 of 5 images have no class" in printed


@pytest.mark.parametrize("option", ["--jobs", "--draw"])
def test_wrong_numbers(option, check):
    printed = check("bestie_shapes", BESTIE, option, "-1", code=2)
    assert printed.startswith(f"error: {option} -1: expected ")
