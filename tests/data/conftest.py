import json
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from bestie_d2.data.datasets import weak
from bestie_d2.data.datasets.voc import VOC_CLASSES
from bestie_d2.data.datasets.voc_preparation import VocReport, prepare_voc
from bestie_d2.data.labels.index_png import index_palette

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A data set name of this test's own, free again afterwards."""
    name = request.node.nodeid
    yield name
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog:
            catalog.remove(name)
    weak._registered.pop(name, None)


@pytest.fixture
def write_png() -> Callable[..., str]:
    """Writes an array as PNG (grey or RGB by its shape) and returns the path."""

    def write(path: Path, array: list | np.ndarray) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(array, np.uint8)).save(path)
        return str(path)

    return write


@pytest.fixture
def write_json() -> Callable[..., str]:
    def write(path: Path, content: object) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return str(path)

    return write


@pytest.fixture
def run_script(monkeypatch, capsys) -> Callable[..., str]:
    """Runs a tool of the project in this process; returns what it printed, or for another exit
    ``code`` than 0 what it complained of."""

    def run(script: str, *arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        if code:
            with pytest.raises(SystemExit) as stop:
                runpy.run_path(str(ROOT / script), run_name="__main__")
            assert stop.value.code == code
        else:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


# -- VOC 2012 and SBD in their official layout, with images of 4x6 pixels

# Digits are the objects' numbers, dots background, v void. The names are the XML's.
VOC_IMAGES = {  # split: stem: (object map, class name of each object)
    "train": {"2007_000032": (["11v...", "11v.2.", "vvvvv.", "......"], ["person", "cat"])},
    "val": {"2007_000033": (["......", ".vvv..", ".v1v..", ".vvv.."], ["bird"])},
}
SBD_IMAGES = {
    "train": {
        "2007_000032": (["111111"] * 4, ["sheep"]),  # VOC's own objects are taken
        "2008_000002": (["1.1...", "1.1...", "1.1.22", "111.22"], ["dog", "dog"]),
    },
    "val": {
        "2007_000033": (["......", "......", "..1...", "......"], ["bird"]),  # VOC's val
        "2008_000003": (["......", ".111..", ".111..", ".111.."], ["sofa"]),
    },
}
XML_TAGS = {
    "2007_000032": ["person", "cat", "cat"],
    "2007_000033": ["bird"],
    "2008_000002": ["dog", "person"],  # nobody outlined the person
    "2008_000003": ["chair"],  # which SBD calls a sofa
}
VOC_COUNTS = {
    "images in train": 1,
    "images in val": 1,
    "images in train_aug": 3,
    "objects in train": 2,
}


@dataclass(frozen=True)
class VocTree:
    """Where the two data sets are, the folder that both lie in, and what there is of each."""

    root: Path
    voc: Path
    sbd: Path
    counts: dict[str, int]


def _numbers(rows: list[str]) -> np.ndarray:
    values = {".": 0, "v": 255}
    return np.array([[values[c] if c in values else int(c) for c in row] for row in rows], np.uint8)


def _write_voc_image(voc: Path, stem: str, rows: list[str], names: list[str]) -> None:
    numbers = _numbers(rows)
    class_map = numbers.copy()
    for number, name in enumerate(names, start=1):
        class_map[numbers == number] = VOC_CLASSES.index(name) + 1
    for folder, array in (("SegmentationObject", numbers), ("SegmentationClass", class_map)):
        image = Image.fromarray(array)
        image.putpalette(index_palette())
        image.save(voc / folder / f"{stem}.png")


def _write_sbd_image(dataset: Path, stem: str, rows: list[str], names: list[str]) -> None:
    boundaries = np.empty((len(names), 1), object)
    for index in range(len(names)):
        boundaries[index, 0] = csc_matrix((4, 6))
    categories = np.array([[VOC_CLASSES.index(name) + 1] for name in names], np.uint8)
    struct = {"Segmentation": _numbers(rows), "Boundaries": boundaries, "Categories": categories}
    savemat(dataset / "inst" / f"{stem}.mat", {"GTinst": struct}, do_compression=True)


@pytest.fixture
def voc_tree(tmp_path) -> VocTree:
    """Four images: one in VOC's train, one in its val, and two that SBD alone has outlined."""
    voc, dataset = tmp_path / "VOC2012", tmp_path / "benchmark_RELEASE" / "dataset"
    lists = voc / "ImageSets" / "Segmentation"
    folders = ("JPEGImages", "Annotations", "SegmentationObject", "SegmentationClass")
    for folder in (lists, *(voc / name for name in folders), dataset / "inst"):
        folder.mkdir(parents=True)
    for images, folder, write in (
        (VOC_IMAGES, lists, partial(_write_voc_image, voc)),
        (SBD_IMAGES, dataset, partial(_write_sbd_image, dataset)),
    ):
        for split, drawings in images.items():
            (folder / f"{split}.txt").write_text("\n".join(drawings) + "\n")
            for stem, (rows, names) in drawings.items():
                write(stem, rows, names)
    for stem, names in XML_TAGS.items():
        Image.new("RGB", (6, 4)).save(voc / "JPEGImages" / f"{stem}.jpg")
        objects = "".join(f"<object><name>{name}</name></object>" for name in names)
        size = "<size><width>6</width><height>4</height><depth>3</depth></size>"
        (voc / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation>{size}{objects}</annotation>"
        )
    return VocTree(tmp_path, voc, dataset.parent, VOC_COUNTS)


@pytest.fixture
def prepare(voc_tree) -> Callable[..., VocReport]:
    """Prepares the tree; arguments replace those that fit it."""

    def run(**arguments: object) -> VocReport:
        paths = {"voc": voc_tree.voc, "sbd": voc_tree.sbd, "output": voc_tree.voc}
        defaults = {**{key: str(path) for key, path in paths.items()}, "expected": voc_tree.counts}
        return prepare_voc(**{**defaults, **arguments})

    return run
