"""What a set of COCO's size costs before and after the networks: time, memory, and their growth.

    python benchmarks/coco_size.py [--images 115000] [--parts 4,2,1] [--folder DIR]

The sets (a quarter of the images, a half, all) are made up: COCO's layout and classes, its number
of objects an image, tiny pictures. Each stage runs on each of them in a process of its own, so that
its largest memory is its own. The sets stay in --folder, a temporary one unless it is named.
"""

from __future__ import annotations

# First: it says how torch's threads wait, before torch is imported.
from bestie_d2.engine.command_line import run_tool

# isort: split

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from measuring import growth, largest_mib
from PIL import Image
from pycocotools import mask as mask_api
from tabulate import tabulate
from tqdm import tqdm

from bestie_d2.checks.data_report import check_data
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer
from bestie_d2.errors import InputError
from bestie_d2.runs.cue_extraction import write_cue_file
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.pseudo_label_export import write_label_file
from bestie_d2.storage.results import Results
from bestie_d2.writers.coco_writer import annotation_of

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TRAIN = "coco_2017_train_tags"
IMAGES, OBJECTS = 115_000, 7  # about COCO train2017's, objects in an image
SIDE, OBJECT_SIDE = 32, 8  # pixels
FILES = 64  # of different pictures and maps; the others are further names of these
IMAGE_FOLDER, MAP_FOLDER = "train2017", "WSSS_maps"
SMALL = {  # what no stage here depends on
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "INPUT.BESTIE.LONG_SIDE": SIDE,
    "INPUT.BESTIE.CROP_SIZE": SIDE,
    "INPUT.MIN_SIZE_TRAIN": (SIDE,),
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 4,
    "DATASETS.TEST": (),
}
CUES, LABELS = 2, 3  # that a network found in an image
COLUMNS = ["stage", "images", "seconds", "of the processor", "MiB at most", "growth"]


def make_set(root: Path, images: int) -> None:
    """COCO's layout in ``root / "coco"``, with cues and weak maps; nothing if it is there."""
    if (root / "coco").is_dir():
        return
    names = MetadataCatalog.get("coco_2017_val").thing_classes
    known = MetadataCatalog.get("coco_2017_val").thing_dataset_id_to_contiguous_id
    begun, random = root / "begun", np.random.default_rng(0)
    for folder in ("first", IMAGE_FOLDER, MAP_FOLDER, "annotations"):
        (begun / folder).mkdir(parents=True)
    classes = random.integers(len(names), size=(images, OBJECTS))
    corners = random.integers(SIDE - OBJECT_SIDE, size=(images, OBJECTS, 2))
    lists: dict[str, list] = {"images": [], "annotations": [], "points": []}
    for number in tqdm(range(images), f"a set of {images}", unit="image", smoothing=0):
        image_id, name = number + 1, f"{number + 1:012}"
        size = {"height": SIDE, "width": SIDE}
        lists["images"].append({"id": image_id, "file_name": f"{name}.jpg", **size})
        for class_id, corner in zip(
            classes[number].tolist(), corners[number].tolist(), strict=True
        ):
            ids = {"image_id": image_id, "category_id": list(known)[class_id]}
            at = {"id": len(lists["annotations"]) + 1, "iscrowd": 0}
            lists["annotations"].append({**at, **ids, **square(*corner)})
            lists["points"].append({**ids, "point": corner, "score": 1.0})
        _link_files(begun, number, int(classes[number, 0]) + 1, name)
    categories = [{"id": i, "name": names[n]} for i, n in known.items()]
    for name, key in (("annotations/instances_train2017", "annotations"), ("cues", "points")):
        content = {"images": lists["images"], "categories": categories, key: lists[key]}
        (begun / f"{name}.json").write_text(json.dumps(content))
    begun.rename(root / "coco")


def square(left: int, top: int) -> dict:
    """What the official file says of an object of this shape."""
    right, bottom = left + OBJECT_SIDE, top + OBJECT_SIDE
    return {
        "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
        "bbox": [left, top, OBJECT_SIDE, OBJECT_SIDE],
        "area": OBJECT_SIDE**2,
    }


def _link_files(root: Path, number: int, index: int, name: str) -> None:
    """An image, and a weak map whose lower half is of a class, that other names have too."""
    image = root / "first" / f"{number % FILES}.jpg"
    weak_map = root / "first" / f"map_{index}.png"
    if not image.exists():
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(image)
    if not weak_map.exists():
        drawn = np.zeros((SIDE, SIDE), np.uint8)
        drawn[SIDE // 2 :] = index
        Image.fromarray(drawn).save(weak_map)
    os.link(image, root / IMAGE_FOLDER / f"{name}.jpg")
    os.link(weak_map, root / MAP_FOLDER / f"{name}.png")


def config_of(root: Path, name: str = "bestie_coco.yaml", **keys: object) -> CfgNode:
    cues = {"DATASETS.CUES": str(root / "coco" / "cues.json")}
    pairs = {**SMALL, **cues, **keys}
    return load_config(str(CONFIGS / name), [str(word) for pair in pairs.items() for word in pair])


def start_of_bestie(root: Path) -> None:
    """All that is read before the first step, and the pictures of that."""
    next(iter(Trainer.build_train_loader(config_of(root))))


def start_of_mask_rcnn(root: Path) -> None:
    images, labels = root / "coco" / IMAGE_FOLDER, root / "labels.json"
    own = {"name": "labels", "images": str(images), "annotations": str(labels)}
    keys = {"DATASETS.CUSTOM": [own], "DATASETS.TRAIN": ("labels",)}
    next(iter(Trainer.build_train_loader(config_of(root, "mrcnn_coco.yaml", **keys))))


def data_check(root: Path) -> None:
    """Every picture and every weak map is opened."""
    report = check_data(config_of(root))
    if report.problems:
        raise InputError("; ".join(report.describe()))


def cue_file(root: Path) -> None:
    """What a classifier found is kept for each picture, and put into one file."""
    run = LabelingRun.open(config_of(root), TRAIN)
    found = {
        "points": [[5.0, 9.0, 0, 0.5]] * CUES,
        "counts": {"classes": [[0, 1, CUES, 0, 1, 0]], "written": CUES, "has_map": False},
    }
    with kept(run, root / "cues.json", found) as results:
        write_cue_file(run, str(root / "cues.json"), results, 0.1)


def label_file(root: Path) -> None:
    """The same of what BESTIE found."""
    run = LabelingRun.open(config_of(root), TRAIN)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[:OBJECT_SIDE, :OBJECT_SIDE] = 1
    found = {"labels": [annotation_of(mask_api.encode(mask), 0, 0.5)] * LABELS, "removed": {}}
    with kept(run, root / "labels.json", found) as results:
        images = str(root / "coco" / IMAGE_FOLDER)
        write_label_file(run, str(root / "labels.json"), {}, images, results)


@contextmanager
def kept(run: LabelingRun, output: Path, found: dict) -> Iterator[Results]:
    """Results of all images, each put by itself, as they come while a network works."""
    results = Results(output)
    results.begin({}, overwrite=True)
    for record in run.records:
        results.put(record["image_id"], found)
    yield results
    results.remove()


STAGES = (start_of_bestie, cue_file, label_file, start_of_mask_rcnn, data_check)


def measured(stage: Callable[[Path], None], root: Path) -> tuple[float, float, float]:
    """Seconds, those of the processor, and MiB of memory at most, of a stage in this process."""
    start, worked = time.perf_counter(), time.process_time()
    stage(root)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    return seconds, worked, largest_mib()


def measure(folder: Path, sizes: Sequence[int]) -> list[list]:
    """Rows of the table; the growth, of the processor's time, is 1 where twice the images take
    twice as long."""
    for images in sizes:
        make_set(folder / str(images), images)
    rows = []
    for stage in STAGES:
        figures = []
        for images in sizes:
            root = folder / str(images)
            os.environ["DETECTRON2_DATASETS"] = str(root)  # read where a process begins
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                figures.append(process.submit(measured, stage, root).result())
            told = "{:.1f} s, {:.1f} of the processor, {:.0f} MiB".format(*figures[-1])
            print(f"{stage.__name__}, {images} images: {told}", file=sys.stderr)
        slope = growth(sizes, [worked for _, worked, _ in figures]) if len(sizes) > 1 else None
        for images, figure in zip(sizes, figures, strict=True):
            rows.append([stage.__name__.replace("_", " "), images, *figure, None])
        rows[-1][-1] = slope
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--images", type=int, default=IMAGES, help="default %(default)s")
    add("--parts", default="4,2,1", help="what the number is divided by; default %(default)s")
    add("--folder", help="where the sets are made, or are already; default: a temporary one")
    arguments = parser.parse_args()
    sizes = [arguments.images // int(part) for part in arguments.parts.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(Path(arguments.folder or temporary), sizes)
    print(tabulate(rows, COLUMNS, floatfmt=("", "", ".1f", ".1f", ".0f", ".2f")))


if __name__ == "__main__":
    run_tool(main)
