"""A folder in which the docs' commands can be run as they are written, on tiny stand-ins."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.utils.logger import setup_logger
from documents import ROOT
from PIL import Image

from bestie_d2.data import register_shapes
from bestie_d2.data.datasets import shapes
from bestie_d2.data.datasets.shapes_drawing import CLASSES
from bestie_d2.data.paths import ROOT_VARIABLE

SIDE = 64
# The finished run and all configurations of BESTIE here are of one small network.
RUN = """
_BASE_: "{folder}/base.yaml"
MODEL:
  DEVICE: "cpu"
  BESTIE: {{NUM_CLASSES: 4, TEST: {{MIN_AREA: 4}}}}
OUTPUT_DIR: "{folder}/output"
"""
SHORT = {
    "MODEL.DEVICE": "cpu",
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.WARMUP_ITERS": 1,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.CHECKPOINT_PERIOD": 100,
    "TEST.EVAL_PERIOD": 0,
    "DATALOADER.NUM_WORKERS": 0,
}
SMALL_BESTIE = {"INPUT.BESTIE.LONG_SIDE": SIDE + 1, "INPUT.BESTIE.CROP_SIZE": SIDE}
SMALL_MASK_RCNN = {"INPUT.MIN_SIZE_TRAIN": [SIDE], "INPUT.MIN_SIZE_TEST": SIDE, "SOLVER.STEPS": []}
ON_SHAPES = {
    "MODEL.WEIGHTS": "",
    "MODEL.HRNET.ARCHITECTURE": "hrnet_w18_small",
    "MODEL.BESTIE.HEAD_CHANNELS": 64,
    "MODEL.BESTIE.NUM_CLASSES": 4,
    "DATASETS.TRAIN": ["shapes_train"],
    "DATASETS.TEST": ["shapes_val"],
}
CONFIGS = {  # what is said beside SHORT, by file
    "pam_shapes": {},
    "wsss_shapes": {"MODEL.WSSS.MASK_LOSS_START": 1},
    "mrcnn_shapes": SMALL_MASK_RCNN,
    "mrcnn_nuclei": SMALL_MASK_RCNN,
    "bestie_shapes": SMALL_BESTIE,
    "bestie_shapes_from_tags": SMALL_BESTIE,
    "bestie_nuclei_point": {**SMALL_BESTIE, "INPUT.MIN_SIZE_TEST": SIDE},
    "bestie_voc": {**SMALL_BESTIE, **ON_SHAPES},
}
TRAIN_IMAGES, VAL_IMAGES = range(1, 9), range(401, 405)


def write_config(folder: Path, name: str) -> None:
    """The project's configuration of that name, made tiny; it stands before the project's own."""
    content: dict = {"_BASE_": f"{ROOT}/configs/{name}.yaml"}
    for key, value in {**SHORT, **CONFIGS[name]}.items():
        *path, leaf = key.split(".")
        node = content
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    (folder / f"{name}.yaml").write_text(json.dumps(content))  # which is yaml too


def label_studio_export(points: Path) -> list[dict]:
    """The points of one of this project's files, as keypoints of Label Studio: percent of the
    sides, from the corner of the first pixel."""
    content = json.loads(points.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    tasks = []
    for image in content["images"]:
        sides = image["width"], image["height"]
        results = [
            {
                **{"type": "keypointlabels", "from_name": "kp", "to_name": "image"},
                **{"original_width": sides[0], "original_height": sides[1]},
                "value": {
                    "x": 100 * (entry["point"][0] + 0.5) / sides[0],
                    "y": 100 * (entry["point"][1] + 0.5) / sides[1],
                    "keypointlabels": [names[entry["category_id"]]],
                },
            }
            for entry in content["points"]
            if entry["image_id"] == image["id"]
        ]
        data = {"image": f"/data/upload/1/0b1c2d3e-{image['file_name']}"}
        tasks.append({"id": image["id"], "data": data, "annotations": [{"result": results}]})
    return tasks


@pytest.fixture(scope="session")
def trained(tmp_path_factory, finish_run) -> Path:
    """The folder of a training on the shapes."""
    return finish_run(tmp_path_factory.mktemp("trained"), RUN, list(CLASSES))


def fill(folder: Path, project: Path, trained: Path) -> None:
    """Put in all that the docs take as given, with the names that they give it."""
    shapes.draw_shapes(folder / "datasets" / "shapes" / shapes.VERSION)
    (folder / "configs").mkdir()
    for name in CONFIGS:
        write_config(folder / "configs", name)
    for name in ("my", "pictures", "datasets/nuclei", "output", "scans/monday"):
        (folder / name).mkdir(parents=True)
    for name in ("my/images", "datasets/nuclei/images"):
        shutil.copytree(project / "images", folder / name)
    copies = {
        "points.json": ("my/points.json", "datasets/nuclei/points_train.json"),
        "annotations.json": (
            *("outlines.json", "datasets/nuclei/instances_train.json"),
            "datasets/nuclei/instances_val.json",
        ),
        "images/0.png": ("a.png", "pictures/a.png"),
        "images/1.png": ("b.png", "pictures/b.png"),
    }
    for source, names in copies.items():
        for name in names:
            shutil.copy(project / source, folder / name)
    Image.open(folder / "a.png").save(folder / "scans" / "monday" / "1.tif")
    export = json.dumps(label_studio_export(project / "points.json"))
    (folder / "export.json").write_text(export)
    with zipfile.ZipFile(folder / "export.zip", "w") as archive:
        archive.writestr("export.json", export)
    for name in ("bestie_shapes", "mine"):
        shutil.copytree(trained, folder / "output" / name, copy_function=os.link)
    os.link(trained / "model_0000007.pth", folder / "best.pth")


@pytest.fixture
def loggers_as_before() -> Iterator[None]:
    """Tools that are run in this process have Detectron2's loggers write into what is captured of
    the test, which is closed behind it."""
    loggers = [logging.getLogger(name) for name in ("bestie_d2", "detectron2", "fvcore")]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    yield
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        one.handlers[:], one.level, one.propagate = handlers, level, propagate
    setup_logger.cache_clear()  # it sets up what it has set up before no second time


@pytest.fixture
def reader_s_folder(
    tmp_path, project, trained, register_again, forget_data_sets, loggers_as_before
) -> Iterator[Path]:
    """The working directory of one who follows the docs, with data and trainings of theirs."""
    sets = tmp_path / "datasets"
    with pytest.MonkeyPatch.context() as patch:  # undone before the sets are where they were
        patch.chdir(tmp_path)
        patch.setenv(ROOT_VARIABLE, str(sets))
        patch.setattr(shapes, "SPLITS", {"train": TRAIN_IMAGES, "val": VAL_IMAGES})
        register_again(register_shapes, ("shapes_train", "shapes_train_point", "shapes_val"), sets)
        fill(tmp_path, project, trained)
        yield tmp_path
