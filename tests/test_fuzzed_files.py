"""Every reader of files, given damaged ones: what it takes is sane, what it refuses it refuses in
one line that names the file, in bounded time and memory.

``BESTIE_D2_FUZZED`` is the number of files of all kinds together, such as 100000 for a night.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import pickle
import platform
import resource
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import tifffile
import torch
from damage import damaged
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api
from scipy.io import savemat
from small_exports import ENTRY, EXPORTS, LISTS
from torch import nn

from bestie_d2.data.datasets import weak
from bestie_d2.data.datasets.object_masks import to_rle
from bestie_d2.data.datasets.voc import VocFolder, read_list, voc_image_id
from bestie_d2.data.datasets.voc_sources import read_sbd_objects
from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.attach import check_map_classes
from bestie_d2.data.labels.cue_files import read_cues
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.tags import read_tags
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import read_pipeline
from bestie_d2.pipeline.spent_time import SpentTime
from bestie_d2.pipeline.state import StageRecord
from bestie_d2.pipeline.table_results import read_results
from bestie_d2.storage.processes import running_in
from bestie_d2.weights.checkpoint import BestieCheckpointer
from bestie_d2.weights.class_names import classes_beside

FILES = int(os.environ.get("BESTIE_D2_FUZZED", 1_500))
SECONDS, MEGABYTES, LETTERS = 5, 300, 3_000  # at most: of one file, of all of a kind, of a line
KEYS = ("DATASETS.CUSTOM[", "MODEL.WEIGHTS")  # told in place of the file that they are for
CLASSES, SIZE = ("cat", "dog"), (20, 30)
SIZES = {"a": SIZE, "b": SIZE}
MANIFEST = {
    **{"config": {"SEED": "1"}, "inputs": {"pam": "ab"}, "data": {"images": "cd"}, "seconds": 1.5},
    **{"versions": {"torch": "2"}, "figures": {"segm/AP": 1.5}, "text": "AP 1.5"},
}
NOISE = np.random.default_rng(0).integers(0, 255, (*SIZE, 3))


class Kind(NamedTuple):
    """A kind of file: its name, what is in it, what reads and checks it, its share of the files."""

    name: str
    content: Any
    read: Callable[[str], None]
    share: float = 1.0


def voc_list(path: str) -> None:
    for stem in read_list(path, "no hint"):
        assert 10**9 <= voc_image_id(stem) < 10**10 or stem.startswith("0")


def stage(path: str) -> None:
    """What a pipeline looks at before it does something."""
    folder = Path(path).parent
    record = StageRecord(str(folder))
    _ = record.manifest, record.found, running_in(folder)
    assert all(math.isfinite(seconds) for seconds in SpentTime(str(folder)).total().values())


def table_results(path: str) -> None:
    assert all(isinstance(row["name"], str) for row in read_results(Path(path))["rows"])


def points(path: str, **arguments: Any) -> None:
    pictures = partial(pictures_of, Path(path).parents[1] / "images")
    found = read_cues(path, classes=CLASSES, sizes=SIZES, pictures=pictures, **arguments)
    for name, cues in found.items():
        inside = (cues.yx >= 0) & (cues.yx <= torch.tensor(SIZES[name]) - 1)
        assert inside.all()
        assert {*cues.classes.tolist()} <= {0, 1}
        assert cues.scores.isfinite().all()


@cache
def pictures_of(folder: Path) -> Pictures:
    return Pictures.of_folder(str(folder))


def tags(path: str) -> None:
    found = read_tags(path, pictures=partial(pictures_of, Path(path).parents[1] / "images"))
    assert len({*found.classes}) == len(found.classes) == len(found.category_ids)
    for record in found.records:
        assert {*record["image_classes"]} <= {*range(len(found.classes))}
        assert min(record.get("height", 1), record.get("width", 1)) > 0
    ("".join(found.classes) + "".join(r["file_name"] for r in found.records)).encode()


def truth(path: str) -> None:
    images = str(Path(path).parents[1] / "images")
    MetadataCatalog.pop("fuzzed", None)
    for record in load_weak_dataset(WeakDataset("fuzzed", images, annotations=path)):
        assert Path(record["file_name"]).parent == Path(images)
        for entry in record["annotations"]:
            mask = to_rle(entry["segmentation"], record["height"], record["width"])
            assert mask_api.area(mask) <= record["height"] * record["width"]


def voc(path: str) -> None:
    record = VocFolder(str(Path(path).parents[1])).read_xml(Path(path).stem)
    assert record["height"] > 0 < record["width"]
    assert {*record["image_classes"]} <= {*range(20)}


def index_map(path: str) -> None:
    assert {*np.unique(read_weak_sem_seg(path, 2))} <= {0, 1, 2, 255}


def sbd(path: str) -> None:
    objects = read_sbd_objects(path, SIZE)
    assert objects.numbers.shape == SIZE
    assert {*objects.classes.values()} <= {*range(20)}


def image(path: str) -> None:
    pixels = ImageReader().read(path)
    assert pixels.ndim == 3 == pixels.shape[2]
    assert pixels.dtype == np.uint8


def checkpoint(path: str) -> None:
    model = nn.Linear(2, 3)
    BestieCheckpointer(model, whole=True).load(path)
    assert model.weight.shape == (3, 2)


def class_names(path: str) -> None:
    names = classes_beside(str(Path(path).with_name("model.pth")))
    assert all(isinstance(name, str) for name in names or ())


def maps_folder(path: str) -> None:
    assert check_map_classes(str(Path(path).parent), CLASSES) is None


def config(path: str) -> None:
    known = {*DatasetCatalog.list()}
    try:
        assert isinstance(load_config(path).SOLVER.BASE_LR, float)
    finally:
        for name in {*DatasetCatalog.list()} - known:
            DatasetCatalog.remove(name)
            MetadataCatalog.pop(name, None)
            weak._registered.pop(name, None)


def pipeline(path: str) -> None:
    assert read_pipeline(path, configs_exist=False).stages


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def picture(suffix: str, mode: str = "RGB", **options: Any) -> bytes:
    drawn = Image.fromarray(NOISE.astype(np.uint8)).convert(mode)
    return saved(lambda file: drawn.save(file, suffix, **options))


STATE = nn.Linear(2, 3).state_dict()
OBJECTS = np.zeros(SIZE, np.uint8)
OBJECTS[3:9, 4:12] = 1
SBD = {"GTinst": {"Segmentation": OBJECTS, "Categories": np.array([[15]], np.uint8)}}
RLE = {"size": [20, 30], "counts": [100, 5, 495]}
KINDS = [
    Kind("cues.json", {**LISTS, "points": [{**ENTRY, "point": [5, 6.5], "score": 0.9}]}, points),
    Kind("text/a.txt", "5 6.5 0 0.9\n7 8 1\n", lambda path: points(str(Path(path).parent))),
    Kind("tags.json", {**LISTS, "annotations": [ENTRY, {**ENTRY, "iscrowd": 1}]}, tags),
    Kind("tags.csv", 'file,tags\na.png,cat;dog\n"b.png",dog\n', tags),
    Kind(
        "truth.json",
        {
            **LISTS,
            "annotations": [
                {**ENTRY, "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6]], "iscrowd": 0},
                {"image_id": 2, "category_id": 2, "bbox": [5, 0, 1, 5], "segmentation": RLE},
            ],
        },
        truth,
    ),
    Kind(
        "Annotations/2007_000032.xml",
        "<annotation><size><width>30</width><height>20</height><depth>3</depth></size>"
        "<object><name>dog</name></object><object><name>cat</name></object></annotation>",
        voc,
    ),
    Kind("map.png", saved(lambda f: Image.fromarray(OBJECTS).save(f, "PNG")), index_map),
    Kind("packed.mat", saved(lambda f: savemat(f, SBD, do_compression=True)), sbd),
    Kind("image.png", picture("PNG", "RGBA"), image),
    Kind("image.jpg", picture("JPEG"), image),
    Kind("image.gif", picture("GIF"), image),
    Kind("image.tif", picture("TIFF"), image),
    Kind("deep.tif", saved(lambda f: tifffile.imwrite(f, NOISE.astype(np.uint16))), image),
    Kind("deep.png", cv2.imencode(".png", NOISE.astype(np.uint16))[1].tobytes(), image),
    Kind("zip.pth", saved(lambda f: torch.save({"model": STATE}, f)), checkpoint),
    Kind(
        "old.pth",
        saved(lambda f: torch.save(STATE, f, _use_new_zipfile_serialization=False)),
        checkpoint,
    ),
    Kind("zoo.pkl", pickle.dumps({k: v.numpy() for k, v in STATE.items()}), checkpoint),
    Kind("beside/classes.json", {"classes": ["cat", "dog"]}, class_names),
    Kind("maps/made_with.json", {"classes": ["cat", "dog"], "threshold": 0.5}, maps_folder),
    Kind(
        "config.yaml",
        'MODEL:\n  WEIGHTS: "a.pth"\n  PIXEL_MEAN: [1.0, 2, 3]\nSOLVER: {BASE_LR: 0.1}\n'
        'DATASETS:\n  CUSTOM:\n    - name: "mine"\n      images: "a"\n      tags: "b"\n',
        config,
        share=0.1,
    ),
    Kind(
        "pipeline.yaml",
        'name: "a"\nsupervision: "tags"\noutput: "b"\ntrain_set: "c"\ntest_set: "d"\n'
        "stages:\n  pam: {config: x.yaml}\n  cues: {}\n  bestie: {config: y.yaml}\n"
        "  export: {score_threshold: 0.5}\n",
        pipeline,
        share=0.3,
    ),
    Kind("val.txt", "2007_000032\n/JPEGImages/2007_000033.jpg /maps/2007_000033.png\n", voc_list),
    Kind("stage/manifest.json", MANIFEST, stage),
    Kind("stage/time.json", {"seconds": 1.0, "processor_seconds": 2.0}, stage),
    Kind("stage/.lock", {"pid": 1, "host": platform.node(), "since": "now"}, stage),
    Kind("figures.json", {"name": "a", "rows": [{"name": "b", "stages": {}}]}, table_results),
    *(Kind(name, content, points) for name, content in EXPORTS.items()),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzzed")
    (made / "images").mkdir()
    for name in SIZES:
        Image.new("RGB", SIZE[::-1]).save(made / "images" / f"{name}.png")
    return made


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_a_damaged_file_is_read_sanely_or_refused_in_one_line(kind, folder, caplog):
    caplog.set_level(logging.CRITICAL)
    path = folder / "files" / kind.name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = kind.content if isinstance(kind.content, (str, bytes)) else json.dumps(kind.content)
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(content)
    kind.read(str(path))  # as it is, it is read
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(max(1, round(FILES * kind.share / len(KINDS)))):
        path.write_bytes(damaged(content, Random(f"{kind.name} {seed}")))
        start = time.process_time()
        try:
            kind.read(str(path))
        except InputError as error:
            line = str(error)
            assert any(name in line for name in (str(path), str(path.parent), *KEYS)), line
            assert line.isprintable(), f"seed {seed}"
            assert len(line) < LETTERS, f"seed {seed}"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}") from error
        assert time.process_time() - start < SECONDS, f"seed {seed}"
    path.unlink()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEGABYTES << 10  # in KiB
