"""How many images a second are read, augmented and labeled for training, and where the time goes.

Images and weak maps are drawn for this: photographs of VOC's size have as many pixels, and about as
many bytes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.data import transforms as T
from measuring import MILLISECONDS
from PIL import Image
from scenes import make_scene

from bestie_d2.data import WeakInstanceMapper
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.training_stream import TrainingStream
from bestie_d2.ops.components import find_components
from bestie_d2.structures import PseudoLabels

SIZE = (375, 500)
IMAGES = 16
OBJECTS = (1, 6)  # in an image
COARSE = 8  # pixels of the image for one of the noise that it is enlarged from
GRAIN = 6.0  # deviation of the noise that is added
QUALITY = 92  # of the JPEG
BATCH = 4
WARM_UP = 4  # batches before those that count
BATCHES = 40


def draw_records(folder: Path, num_classes: int) -> list[dict]:
    """Records as ``WeakInstanceMapper`` takes them, and the files that they name."""
    random = np.random.default_rng(0)
    records = []
    for number in range(IMAGES):
        scene = make_scene(
            int(random.integers(*OBJECTS, endpoint=True)),
            SIZE,
            num_classes=num_classes,
            seed=number,
        )
        coarse = random.integers(0, 256, (*(-(-side // COARSE) for side in SIZE), 3), np.uint8)
        image = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float64)
        image += random.normal(0, GRAIN, image.shape)
        files = {"file_name": f"{number}.jpg", "sem_seg_file_name": f"{number}.png"}
        record = {name: str(folder / file) for name, file in files.items()}
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
            record["file_name"], quality=QUALITY
        )
        weak_map = scene.weak_sem_seg.numpy().astype(np.uint8)
        Image.fromarray(weak_map).save(record["sem_seg_file_name"])
        tags = torch.nonzero(scene.image_classes).flatten().tolist()
        sizes = {"height": SIZE[0], "width": SIZE[1], "image_id": number}
        records.append({**record, **sizes, "image_classes": tags, "cues": scene.cues})
    return records


def split_of_mapper(cfg: CfgNode, records: list[dict], repeat: int) -> dict[str, float]:
    """Median milliseconds for one image in this process: each part alone, and the whole."""
    mapper = WeakInstanceMapper(cfg)
    times: dict[str, list[float]] = {}

    def timed(part: str, function: Callable, *arguments: object) -> object:
        start = time.perf_counter()
        result = function(*arguments)
        times.setdefault(part, []).append(MILLISECONDS * (time.perf_counter() - start))
        return result

    for record in records * repeat:
        size = (record["height"], record["width"])
        image = timed("read image", mapper.reader.read_of, record)
        weak_map = timed(
            "read map", read_weak_sem_seg, record["sem_seg_file_name"], mapper.num_classes, size
        )
        augmented = T.AugInput(image, sem_seg=weak_map)
        timed("augment", mapper.augmentations, augmented)
        timed("pseudo labels", pseudo_labels, mapper, augmented.sem_seg, record)
        timed("whole mapper", mapper, record)
    return {part: statistics.median(spent) for part, spent in times.items()}


def pseudo_labels(mapper: WeakInstanceMapper, index_map: np.ndarray, record: dict) -> PseudoLabels:
    components = find_components(index_map, record["image_classes"])
    return mapper.transfer.label(components, components.count_cues(record["cues"]) == 1)


def images_per_second(cfg: CfgNode, records: list[dict], workers: int) -> float:
    """Through the loader that training has, with processes that load and send."""
    mapper = WeakInstanceMapper(cfg)
    loader = build_detection_train_loader(
        TrainingStream(records, batch_size=BATCH, seed=0, start=0),
        mapper=mapper,
        total_batch_size=BATCH,
        aspect_ratio_grouping=False,
        num_workers=workers,
    )
    batches = iter(loader)
    for _ in range(WARM_UP):
        next(batches)
    start = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    return BATCHES * BATCH / (time.perf_counter() - start)
