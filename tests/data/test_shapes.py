"""The synthetic set: the same bytes everywhere, and as hard as it is meant to be."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data import attach_weak_labels
from bestie_d2.data.datasets import shapes
from bestie_d2.data.datasets.shapes_drawing import CLASSES, draw_scene
from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.errors import InputError

MIN_AREA = 20  # pixels of a component that can become a pseudo label at this image size


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "shapes" / "v1"
    shapes.draw_shapes(folder)
    return folder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_same_bytes_everywhere(folder):
    pixels = np.array(Image.open(folder / "images/train/000001.png"))
    weak_map = np.array(Image.open(folder / "weak_maps/train/000001.png"))
    assert (
        sha256(pixels.tobytes())
        == "8a7484cd6035975dc627b1d6ef8de322faf4462d20987594ccd973f1a1203080"
    )
    assert (
        sha256(weak_map.tobytes())
        == "4b064165a509f40aa60aa0dae34d1e659c3cb34faf9408ae5d861f4a24d0f707"
    )
    assert (
        sha256((folder / "cues_train.json").read_bytes())
        == "001afd1b6d20e61e1db21343489a091ccbc32e7cb80b3fa278ad98a736e77651"
    )
    assert (
        sha256((folder / "points_train.json").read_bytes())
        == "7fc2dab9fdae40f150678e9cdbf35dee5d89460a6049115119dbadbfb8459ac9"
    )


def test_files_are_complete(folder):
    counts = {"train": shapes.TRAIN_IMAGES, "val": shapes.VAL_IMAGES}
    for split, count in counts.items():
        assert len(list((folder / "images" / split).iterdir())) == count
        assert len(list((folder / "weak_maps" / split).iterdir())) == count
        truth = json.loads((folder / f"instances_{split}.json").read_text())
        assert len(truth["images"]) == count
        ids = [entry["id"] for entry in truth["annotations"]]
        assert len(ids) == len(set(ids))
    assert "score" not in json.loads((folder / "points_train.json").read_text())["points"][0]
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]


def read_split(folder: Path, labels: str) -> tuple[list[dict], list[dict]]:
    """Weakly labelled records of the training split, and records with its truth."""
    images, truth = str(folder / "images/train"), str(folder / "instances_train.json")
    true_records = load_weak_dataset(WeakDataset("shapes_test", images, annotations=truth))
    MetadataCatalog.remove("shapes_test")
    labelled = attach_weak_labels(
        true_records,
        weak_maps=str(folder / "weak_maps/train"),
        cues=str(folder / labels),
        classes=CLASSES,
        num_classes=len(CLASSES),
    )
    return labelled, true_records


def components(weak_map: np.ndarray, label: int) -> list[np.ndarray]:
    count, labels = cv2.connectedComponents((weak_map == label + 1).astype(np.uint8))
    masks = [labels == number for number in range(1, count)]
    return [mask for mask in masks if mask.sum() >= MIN_AREA]


@pytest.mark.parametrize(
    ("labels", "low", "high"), [("cues_train.json", 0.45, 0.58), ("points_train.json", 0.53, 0.65)]
)
def test_share_of_objects_that_become_pseudo_labels(folder, labels, low, high):
    """The rest share a component with another object, or have no cue or two."""
    objects = pseudo_labels = 0
    for record in read_split(folder, labels)[0]:
        weak_map = np.array(Image.open(record["sem_seg_file_name"]))
        objects += len(record["annotations"])
        for label in range(len(CLASSES)):
            yx = record["cues"].yx[record["cues"].classes == label].long()
            for component in components(weak_map, label):
                pseudo_labels += component[yx[:, 0], yx[:, 1]].sum() == 1
    assert low < pseudo_labels / objects < high


def test_weak_maps_are_imperfect(folder):
    size = (len(CLASSES) + 1, 2)
    overlap = np.zeros(size, int)  # intersection and union by WSSS index
    for record in read_split(folder, "cues_train.json")[0]:
        weak_map = np.array(Image.open(record["sem_seg_file_name"]))
        truth = np.zeros_like(weak_map)
        for annotation in record["annotations"]:
            mask = mask_api.decode(annotation["segmentation"]).astype(bool)
            assert not truth[mask].any()
            truth[mask] = annotation["category_id"] + 1
        for index in range(len(overlap)):
            both = (weak_map == index) & (truth == index)
            either = (weak_map == index) | (truth == index)
            overlap[index] += both.sum(), either.sum()
    iou = overlap[:, 0] / overlap[:, 1]
    assert (iou[1:] > 0.74).all()
    assert (iou[1:] < 0.86).all()


def test_points_lie_on_their_objects(folder):
    for record in read_split(folder, "points_train.json")[0]:
        assert len(record["cues"]) == len(record["annotations"])
        for (y, x), label, annotation in zip(
            record["cues"].yx.long().tolist(),
            record["cues"].classes.tolist(),
            record["annotations"],
            strict=True,
        ):
            assert label == annotation["category_id"]
            assert mask_api.decode(annotation["segmentation"])[y, x]


def test_cues_are_like_those_of_a_classifier(folder):
    content = json.loads((folder / "cues_train.json").read_text())
    objects = len(json.loads((folder / "points_train.json").read_text())["points"])
    scores = [cue["score"] for cue in content["points"]]
    assert 0.95 < len(scores) / objects < 1.02
    assert 0.5 <= min(scores) < 0.6
    assert 0.9 < max(scores) <= 1


def test_scenes_need_no_other_scene():
    first, again = (draw_scene(np.random.default_rng([shapes.SEED, 7])) for _ in range(2))
    assert (first.image == again.image).all()
    assert (first.instances == again.instances).all()
    assert set(np.unique(first.instances)) == set(range(len(first.shapes) + 1))


def test_drawing_happens_once_and_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "SPLITS", {"train": range(1, 4)})
    folder = tmp_path / "shapes" / "v1"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(shapes.draw_shapes, [folder] * 3))
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]
    assert len(list((folder / "images/train").iterdir())) == 3
    (folder / "images/train/000001.png").unlink()
    shapes.draw_shapes(folder)
    assert len(list((folder / "images/train").iterdir())) == 2


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't be drawn there .*; set DETECTRON2_DATASETS"):
        shapes.draw_shapes(tmp_path / "file" / "shapes" / "v1")


def test_registered():
    for name in ("shapes_train", "shapes_train_point", "shapes_val"):
        assert name in DatasetCatalog
        assert MetadataCatalog.get(name).thing_classes == list(CLASSES)
    assert MetadataCatalog.get("shapes_train").cues.endswith("cues_train.json")
    assert MetadataCatalog.get("shapes_train_point").cues.endswith("points_train.json")
