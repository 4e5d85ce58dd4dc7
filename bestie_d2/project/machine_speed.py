"""How long an iteration takes on this machine: a few are run, on stand-ins for weak labels."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from detectron2.engine import HookBase
from PIL import Image

from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.data.labels.attach import WEAK_MAP_SUFFIX
from bestie_d2.data.names import label_name
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer
from bestie_d2.pictures.dataset import spread_over
from bestie_d2.project.labeled_set import LabeledSet, write_labels
from bestie_d2.storage.files import make_folder
from bestie_d2.structures import PointCues

PICTURES = 8  # that are trained on
FIRST, TIMED = 2, 3  # iterations: those that find memory and algorithms do not count


class _Clock(HookBase):
    """The times at which iterations end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_step(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def seconds_per_iteration(config: str, images: str, labeled: LabeledSet, diameter: float) -> float:
    """The time of one iteration of a training that the file ``config`` describes.

    Args:
        images: folder of the pictures.
        diameter: of objects in pixels; disks of this size are the weak maps.
    """
    with tempfile.TemporaryDirectory() as folder, _silence():
        overrides = _stand_in(Path(folder), images, labeled, diameter)
        trainer, clock = Trainer(load_config(config, overrides)), _Clock()
        trainer.register_hooks([clock])
        trainer.train()
    return statistics.median(later - end for end, later in pairwise(clock.ends[FIRST - 1 :]))


def _stand_in(folder: Path, images: str, labeled: LabeledSet, diameter: float) -> list[str]:
    """A few pictures with weak labels in a scratch folder, and the overrides that train on them."""
    records = spread_over(labeled.records, PICTURES)
    cues = {label_name(record): _cues_of(record, labeled) for record in records}
    for record in records:
        place = folder / "maps" / f"{label_name(record)}{WEAK_MAP_SUFFIX}"
        make_folder(place.parent, "scratch folder")
        Image.fromarray(_disks(record, cues[label_name(record)], diameter)).save(place)
    write_labels(folder / "labels.json", labeled, records)
    write_labels(folder / "cues.json", replace(labeled, kind=POINTS, cues=cues), records)
    made = {"weak_maps": str(folder / "maps"), "cues": str(folder / "cues.json")}
    made |= {"name": str(folder), "images": images, labeled.kind: str(folder / "labels.json")}
    count = FIRST + TIMED
    keys = {
        **{"DATASETS.CUSTOM": [made], "DATASETS.TRAIN": (str(folder),), "DATASETS.TEST": ()},
        **{"DATASETS.CUES": "", "DATASETS.WEAK_MAPS": "", "MODEL.WEIGHTS": ""},
        **{"SOLVER.MAX_ITER": count, "SOLVER.STEPS": (), "SOLVER.CHECKPOINT_PERIOD": count + 1},
        **{"TEST.EVAL_PERIOD": 0, "MODEL.WSSS.MASK_LOSS_START": 0, "DATALOADER.NUM_WORKERS": 0},
        "OUTPUT_DIR": str(folder / "output"),
    }
    return [text for key, value in keys.items() for text in (key, str(value))]


def _cues_of(record: dict, labeled: LabeledSet) -> PointCues:
    """The points of a picture; of one with tags alone, its center for each."""
    if labeled.kind == POINTS:
        return labeled.cues.get(label_name(record), PointCues.empty())
    classes = torch.tensor(record["image_classes"], dtype=torch.int64)
    center = torch.tensor([[record["height"] / 2, record["width"] / 2]])
    return PointCues(center.repeat(len(classes), 1), classes, torch.ones(len(classes)))


def _disks(record: dict, cues: PointCues, diameter: float) -> np.ndarray:
    """(H, W) WSSS indices: a disk at each point."""
    index_map = np.zeros((record["height"], record["width"]), np.uint8)
    rows, columns = np.ogrid[: record["height"], : record["width"]]
    for (y, x), index in zip(cues.yx.tolist(), cues.classes.tolist(), strict=True):
        index_map[(rows - y) ** 2 + (columns - x) ** 2 <= (diameter / 2) ** 2] = index + 1
    return index_map


@contextmanager
def _silence() -> Iterator[None]:
    """No log of the training that is timed."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
