"""What a configuration and its data sets have to satisfy before anything is built or trained.

Every check raises an ``InputError`` that names the key or the data set, and what fits. Names of
classes are compared, and written down with a run, since networks know classes by number alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    build_backbone,
)
from detectron2.solver.build import GradientClipType

from bestie_d2.data import MAPPER_REGISTRY, DetectionMapper, WeakInstanceMapper
from bestie_d2.data.augmentation import color_jitter
from bestie_d2.data.datasets.object_masks import is_box
from bestie_d2.data.deep_images import Intensity
from bestie_d2.data.labels.index_png import check_class_limit
from bestie_d2.data.training_stream import SAMPLERS
from bestie_d2.errors import InputError
from bestie_d2.evaluation.tasks import task_of
from bestie_d2.evaluation.truth import ObjectsByImage, has_truth, load_truth
from bestie_d2.model_keys import SIDE_KEYS, num_classes, num_classes_key, value_of
from bestie_d2.modeling.heads import INSTANCE_HEAD_REGISTRY
from bestie_d2.modeling.inputs import check_side
from bestie_d2.storage.files import replacing
from bestie_d2.weights.checkpoint import classes_of_weights
from bestie_d2.weights.class_names import CLASSES, CLASSES_FILE, compare_classes

POSITIVE = (
    "SOLVER.MAX_ITER", "SOLVER.IMS_PER_BATCH", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.HEAD_LR_FACTOR",
    "INPUT.BESTIE.LONG_SIDE", "INPUT.BESTIE.CROP_SIZE", "INPUT.TAGS.CROP_SIZE",
    "MODEL.BESTIE.NUM_CLASSES", "MODEL.BESTIE.SIGMA", "MODEL.BESTIE.SIZE_DIVISIBILITY",
    "MODEL.BESTIE.LOSS.SEM_SEG_TOP_K", "MODEL.PAM.NUM_CLASSES", "MODEL.PAM.CUES.MIN_SCORE",
    "MODEL.PAM.CUES.MAX_PER_CLASS", "MODEL.WSSS.NUM_CLASSES", "MODEL.WSSS.TEST.SIZE_DIVISIBILITY",
)  # fmt: skip
NOT_NEGATIVE = (
    "DATALOADER.NUM_WORKERS", "INPUT.BESTIE.SCALE_STEP", "MODEL.BESTIE.SIGMA_BY_SIZE",
    "TEST.LABEL_PROGRESS.IMAGES",
)  # fmt: skip
SHARES = ("MODEL.PAM.ALPHA", "MODEL.BESTIE.SPLIT_WEIGHT")
ODD = {  # key: its smallest value
    "MODEL.BESTIE.REFINEMENT.KERNEL": 3,
    "MODEL.BESTIE.TEST.KERNEL": 3,
    "MODEL.PAM.CUES.KERNEL": 3,
    "MODEL.PAM.CUES.SMOOTHING": 1,
}
WARM_UPS = ("linear", "constant")  # that Detectron2 has
CLIP_TYPES = [kind.value for kind in GradientClipType]
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # SOLVER.AMP.DTYPE
REGISTRIES = {
    "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_MASK_HEAD.NAME": ROI_MASK_HEAD_REGISTRY,
    "MODEL.BESTIE.HEAD": INSTANCE_HEAD_REGISTRY,
    "INPUT.MAPPER": MAPPER_REGISTRY,
}
BESTIE = "BESTIE"
OF_WEAK_MAPS = (BESTIE, "SingleStageWSSS")  # read or write them; a PAM classifier need not
BITMASK = "bitmask"  # INPUT.MASK_FORMAT of masks that come as RLE
PROGRESS = "TEST.LABEL_PROGRESS.DATASET"

logger = logging.getLogger(__name__)


def on_cpu(cfg: CfgNode) -> bool:
    """Whether the model is trained on the processor."""
    return torch.device(cfg.MODEL.DEVICE).type == "cpu"


def check_config(cfg: CfgNode) -> None:
    """Refuse what would fail later, or worse, would not."""

    def expect(key: str, fits: Callable[[Any], object], expected: str) -> None:
        value = value_of(cfg, key)
        if value is None or not fits(value):
            raise InputError(f"{key} is {value!r}, expected {expected}")

    for key in POSITIVE:
        expect(key, lambda value: value > 0, "more than 0")
    for key in NOT_NEGATIVE:
        expect(key, lambda value: value >= 0, "0 or more")
    for key, smallest in ODD.items():
        fitting = range(smallest, 2**31, 2)
        expect(key, fitting.__contains__, f"an odd number of pixels from {smallest}")
    Intensity.from_config(cfg)
    color_jitter(cfg)
    if cfg.MODEL.META_ARCHITECTURE in OF_WEAK_MAPS:
        check_class_limit(num_classes_key(cfg), num_classes(cfg))
    expect("INPUT.BESTIE.SCALE_RANGE", _is_range, "[smallest, largest]")
    expect("MODEL.WSSS.PAMR.DILATIONS", _are_distances, "whole numbers of pixels above 0")
    for key in SHARES:
        expect(key, lambda share: 0 <= share <= 1, "0 to 1")
    expect("OUTPUT_DIR", bool, "a folder")
    expect("MODEL.DEVICE", _is_device, "'cuda' or 'cpu'")
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but there is no GPU: use 'cpu'")
    expect("DATALOADER.SAMPLER_TRAIN", SAMPLERS.__contains__, " or ".join(SAMPLERS))
    no_pickles = "False: files of proposals are pickles, which can run programs"
    expect("MODEL.LOAD_PROPOSALS", lambda load: not load, no_pickles)
    expect("SOLVER.WARMUP_METHOD", WARM_UPS.__contains__, " or ".join(WARM_UPS))
    expect("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", CLIP_TYPES.__contains__, " or ".join(CLIP_TYPES))
    expect("SOLVER.AMP.DTYPE", PRECISIONS.__contains__, " or ".join(PRECISIONS))
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "float16" and on_cpu(cfg):
        raise InputError("SOLVER.AMP.DTYPE is 'float16', but there is no GPU: use 'bfloat16'")
    for key, registry in REGISTRIES.items():
        name = value_of(cfg, key)
        if name not in registry and (name or key != "INPUT.MAPPER"):
            known = ", ".join(sorted(known for known, _ in registry))
            raise InputError(f"{key} is {name!r}; choose from {known}")
    if cfg.TEST.LABEL_PROGRESS.DATASET:
        check_is_bestie(cfg, PROGRESS)


def check_is_bestie(cfg: CfgNode, what: str) -> None:
    """Refuse another kind of model where ``what`` is for BESTIE alone."""
    found = cfg.MODEL.META_ARCHITECTURE
    if found != BESTIE:
        raise InputError(f"{what}: MODEL.META_ARCHITECTURE is {found!r}, expected {BESTIE!r}")


def check_batch(cfg: CfgNode, processes: int) -> None:
    """Refuse a batch that the processes which train together cannot share."""
    if cfg.SOLVER.IMS_PER_BATCH % processes:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}, the batch of all {processes} "
            "processes: expected a multiple of their number"
        )


def _is_range(scales: Sequence[float]) -> bool:
    are_numbers = all(type(scale) in (int, float) for scale in scales)
    return are_numbers and len(scales) == 2 and 0 < scales[0] <= scales[1]


def _are_distances(pixels: Sequence[int]) -> bool:
    return bool(pixels) and all(type(each) is int and each > 0 for each in pixels)


def _is_device(name: str) -> bool:
    try:
        return bool(torch.device(name))
    except RuntimeError:
        return False


def training_mapper(cfg: CfgNode) -> type[Any]:
    """The class of the mapper that makes training examples."""
    return MAPPER_REGISTRY.get(cfg.INPUT.MAPPER) if cfg.INPUT.MAPPER else DetectionMapper


def needs_of(mapper: type[Any]) -> frozenset[str]:
    """What of a record a mapper takes beside the image; one that does not say checks its sets."""
    return getattr(mapper, "needs", frozenset())


def check_sides_of_images(cfg: CfgNode) -> None:
    """Refuse sizes of images that the model would refuse; builds no more than its backbone."""
    keys = SIDE_KEYS.get(cfg.MODEL.META_ARCHITECTURE, ())
    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(cfg) if keys else None  # only it knows
    for key in keys:
        check_side(key, value_of(cfg, key), backbone)


def classes_of(name: str, key: str = "") -> list[str]:
    """The class names of a data set, that ``key`` names, in contiguous order; reads it if they are
    inferred."""
    if name not in DatasetCatalog:
        where = f"{key}: " if key else ""
        raise InputError(f"{where}data set {name!r} is not registered; see DATASETS.CUSTOM")
    if not MetadataCatalog.get(name).get("thing_classes"):
        DatasetCatalog.get(name)
    return list(MetadataCatalog.get(name).thing_classes)


def check_class_names(cfg: CfgNode) -> None:
    """Refuse training and test sets that do not all have the same classes in the same order."""
    keys = ("TRAIN", "TEST")
    sets = [(f"{name!r} of DATASETS.{key}", name) for key in keys for name in cfg.DATASETS[key]]
    for what, name in sets[1:]:
        compare_classes(f"of {sets[0][0]}", classes_of(sets[0][1]), what, classes_of(name))


def write_class_names(cfg: CfgNode) -> None:
    """Write ``classes.json`` into ``OUTPUT_DIR``: the names of the training set's classes."""
    content = {CLASSES: classes_of(cfg.DATASETS.TRAIN[0])}
    with replacing(Path(cfg.OUTPUT_DIR, CLASSES_FILE)) as file:
        json.dump(content, file, ensure_ascii=False, indent=1)


def check_trained_classes(cfg: CfgNode, *names: str) -> None:
    """Refuse data sets of other classes than ``MODEL.WEIGHTS`` was trained with, if these are in it
    or in a ``classes.json`` beside it."""
    path = cfg.MODEL.WEIGHTS
    trained = classes_of_weights(path)
    for name in names if trained else ():
        what, found = f"that {path} was trained with", classes_of(name)
        compare_classes(what, trained or (), repr(name), found)


def check_test_sets(cfg: CfgNode) -> None:
    """Read what the evaluation on each set of ``DATASETS.TEST`` needs, before training starts."""
    for name in cfg.DATASETS.TEST:
        classes_of(name, "DATASETS.TEST")
        if not task_of(cfg).read_truth(cfg, name):
            raise InputError(f"DATASETS.TEST: data set {name!r} has no images")
        _check_number_of_classes(cfg, "DATASETS.TEST", name)


def _check_number_of_classes(cfg: CfgNode, key: str, name: str) -> None:
    classes = classes_of(name)
    if len(classes) != num_classes(cfg):
        raise InputError(
            f"{num_classes_key(cfg)} is {num_classes(cfg)}, but the data set {name!r} of {key} has "
            f"{len(classes)} classes ({', '.join(classes)}): set it to {len(classes)}"
        )


def check_train_sets(cfg: CfgNode) -> None:
    """Read the sets of ``DATASETS.TRAIN`` as Detectron2's loader will; say which images it drops.

    Mappers of weak labels check their own sets, but for the classes' names.
    """
    check_class_names(cfg)
    filtered = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    fate = "are left out of the training" if filtered else "are trained on as background"
    for name in cfg.DATASETS.TRAIN if "masks" in needs_of(training_mapper(cfg)) else ():
        classes_of(name, "DATASETS.TRAIN")
        records = DatasetCatalog.get(name)
        if not all("annotations" in record for record in records):
            raise InputError(
                f"DATASETS.TRAIN: data set {name!r} has no masks to train on; register it with "
                "'annotations' and without 'tags' and 'points'"
            )
        _check_number_of_classes(cfg, "DATASETS.TRAIN", name)
        for record in records:
            for item in objects_of(record):
                _check_object(cfg, f"{name!r}: {record['file_name']}", item)
        empty = sum(not objects_of(record) for record in records)
        if filtered and empty == len(records):
            raise InputError(
                f"DATASETS.TRAIN: none of the {len(records)} images of {name!r} has an instance"
            )
        logger.info(
            "%s: %d of %d images have no instance and %s (DATALOADER.FILTER_EMPTY_ANNOTATIONS %s)",
            name, empty, len(records), fate, filtered,
        )  # fmt: skip


def objects_of(record: Mapping) -> list[dict]:
    """Annotations that are trained on and counted: those that are no crowd."""
    return [item for item in record["annotations"] if not item.get("iscrowd", 0)]


def _check_object(cfg: CfgNode, where: str, item: Mapping) -> None:
    is_rle = isinstance(item.get("segmentation"), dict)
    if is_rle and cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT != BITMASK:
        raise InputError(
            f"INPUT.MASK_FORMAT is {cfg.INPUT.MASK_FORMAT!r}, but masks of DATASETS.TRAIN are "
            f"run-length encoded ({where}): set it to {BITMASK!r}"
        )
    if not is_box(item.get("bbox")):
        raise InputError(
            f"DATASETS.TRAIN: {where}: the 'bbox' of an object is {item.get('bbox')!r}, expected "
            "[left, top, width, height]"
        )


def read_label_progress(cfg: CfgNode) -> tuple[list[dict], ObjectsByImage]:
    """The records, with weak labels, and the true objects of ``TEST.LABEL_PROGRESS.DATASET``."""
    name = cfg.TEST.LABEL_PROGRESS.DATASET
    classes_of(name, PROGRESS)
    if not has_truth(name):
        raise InputError(f"{PROGRESS}: {name!r} has no true masks")
    return WeakInstanceMapper.load_records(cfg, name), load_truth(name)
