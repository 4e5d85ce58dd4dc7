"""What the product of a stage depends on: which keys of a configuration, which parts of the data.

Data is compared by content, images by name and size; where it lies does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.model_keys import NUM_CLASSES_NODE
from bestie_d2.storage.files import OF_VIEWERS, hash_of_content, hash_of_file, hash_of_folder

# In all of these a name stands for everything under it too, and * for any letters.

# Where and how fast it is computed, what is looked at meanwhile, and names.
NEVER = (
    *("MODEL.DEVICE", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD"),
    *("TEST.EVAL_PERIOD", "TEST.LABEL_PROGRESS", "TEST.EXPECTED_RESULTS"),
    *("OUTPUT_DIR", "VIS_PERIOD", "VERSION"),
)
# What they name is compared by content, wherever it lies.
PATHS = (
    *("MODEL.WEIGHTS", "DATASETS.CUSTOM", "DATASETS.TRAIN", "DATASETS.TEST"),
    *("DATASETS.CUES", "DATASETS.WEAK_MAPS", "DATASETS.INSTANCE_LABELS"),
)
CUE_THRESHOLD = "DATASETS.CUE_THRESHOLD"  # read by what learns from cues
# Read when a trained model is used. TEST.PRECISE_BN is not among them: it changes the weights.
AT_USE = (
    *("TEST.DETECTIONS_PER_IMAGE", "TEST.MAX_DETECTIONS_PER_IMAGE", "TEST.AUG"),
    *("TEST.KEYPOINT_OKS_SIGMAS", "DATASETS.*_TEST"),
    *("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "INPUT.TEST_SIDE"),
    *("MODEL.*.TEST", "MODEL.*_TEST", "MODEL.PAM.CUES", "MODEL.BESTIE.SIZE_DIVISIBILITY"),
)
# Read while a model is trained, and no more when it is used.
AT_TRAINING = (
    *("INPUT.BESTIE", "INPUT.TAGS", "INPUT.MAPPER", "INPUT.CROP", "INPUT.RANDOM_FLIP"),
    *("INPUT.*_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING", "INPUT.MASK_FORMAT", "MODEL.*_TRAIN"),
    *("MODEL.BESTIE.SIGMA", "MODEL.BESTIE.MIN_AREA", "MODEL.BESTIE.WHOLE_PIXEL_CENTERS"),
    *("MODEL.BESTIE.IAG", "MODEL.BESTIE.LOSS", "MODEL.BESTIE.REFINEMENT"),
    *("MODEL.BESTIE.BATCH_NORM_MOMENTUM", "MODEL.WSSS.MASK_LOSS_*", "MODEL.WSSS.FOCAL"),
    *("MODEL.WSSS.PSEUDO", "MODEL.WSSS.DROPOUT"),
)

# Parts of the data, as they are printed.
TAGS, IMAGES = "training set's list", "training set's image files"
CUES, WEAK_MAPS, LABELS = "cues", "weak maps", "instance labels"
MASKS, WEIGHTS = "true masks", "initial weights"
TEST_LIST, TEST_IMAGES = "test set's list", "test set's image files"
TEST_MASKS, TEST_MAPS = "test set's true masks", "test set's weak maps"
MADE_BY = {"cues": CUES, "maps": WEAK_MAPS, "export": LABELS}  # kinds of stages that make parts
NAMED_BY = {  # keys under DATASETS, or else of the data set's metadata, that name a part; "": none
    CUES: ("CUES", "cues"),
    WEAK_MAPS: ("WEAK_MAPS", "weak_maps"),
    LABELS: ("INSTANCE_LABELS", ""),
    MASKS: ("", "json_file"),
    TEST_MASKS: ("", "json_file"),
    TEST_MAPS: ("", "weak_maps"),
}


@dataclass(frozen=True)
class Dependencies:
    """What counts for a kind of stage."""

    keys: Sequence[str]  # of the configuration, but for NEVER and PATHS ...
    without: Sequence[str]  # ... and these
    data: Sequence[str]  # parts; those that an earlier stage makes are compared as its product

    def count(self, key: str, node: str) -> bool:
        """Whether a key of the configuration counts; of our models' keys, only those of the one
        with this ``node`` under ``MODEL``."""
        others = [f"MODEL.{other}" for other in NUM_CLASSES_NODE.values() if other != node]
        left_out = (*NEVER, *PATHS, *self.without, *others)
        return _is_among(key, self.keys) and not _is_among(key, left_out)


def _is_among(key: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(key, name) or fnmatchcase(key, f"{name}.*") for name in names)


ALL, USE = ("*",), ("MODEL", "INPUT")
NO_CUES = (*AT_USE, CUE_THRESHOLD)
OF_TRAINING = (TAGS, IMAGES)
DEPENDENCIES = {  # by kind of stage
    "pam": Dependencies(ALL, NO_CUES, (*OF_TRAINING, WEIGHTS)),
    "cues": Dependencies(USE, AT_TRAINING, OF_TRAINING),
    "wsss": Dependencies(ALL, NO_CUES, (*OF_TRAINING, WEIGHTS)),
    "maps": Dependencies(USE, AT_TRAINING, OF_TRAINING),
    "bestie": Dependencies(ALL, AT_USE, (*OF_TRAINING, CUES, WEAK_MAPS, LABELS, WEIGHTS)),
    "export": Dependencies((*USE, "TEST.DETECTIONS_PER_IMAGE"), AT_TRAINING, OF_TRAINING),
    "mrcnn": Dependencies(ALL, NO_CUES, (IMAGES, WEIGHTS)),
    "mrcnn_truth": Dependencies(ALL, NO_CUES, (IMAGES, MASKS, WEIGHTS)),
    "evaluate": Dependencies(
        (*USE, "TEST"), AT_TRAINING, (TEST_LIST, TEST_IMAGES, TEST_MASKS, TEST_MAPS)
    ),
}


# -- the state of data

NOT_THERE = "not there"  # in place of a hash: the stage that reads it will say what is wrong
DIGITS = 16  # of a hash, enough to tell files apart
OF_RECORDS = ("image_id", "height", "width", "image_classes")


class Hashes:
    """The states of a pipeline's data and products, each looked at once until a stage was run."""

    def __init__(self, train_set: str, test_set: str) -> None:
        self._train_set, self._test_set = train_set, test_set
        self._products: dict[str, str] = {}
        self._images_of, self._state_of = cache(_images_of), cache(_state_of)

    def of_product(self, path: str) -> str:
        if path not in self._products:
            self._products[path] = hash_of_folder(path)
        return self._products[path]

    def forget(self, product: str) -> None:
        """What a stage makes is there anew; and the data may have changed meanwhile."""
        self._products.pop(product, None)
        self._images_of.cache_clear()
        self._state_of.cache_clear()

    def of_data(self, parts: Iterable[str], cfg: CfgNode) -> dict[str, str]:
        """The state of each part by its name."""
        found = dict.fromkeys(parts, NOT_THERE)
        for part in found:
            with suppress(InputError, OSError):
                found[part] = self._of_part(part, cfg)
        return found

    def _of_part(self, part: str, cfg: CfgNode) -> str:
        if part == WEIGHTS:
            return self._state_of(cfg.MODEL.WEIGHTS)
        name = self._test_set if part.startswith("test set") else self._train_set
        if part not in NAMED_BY:
            return self._images_of(name)[part in (IMAGES, TEST_IMAGES)]
        key, in_metadata = NAMED_BY[part]
        path = getattr(cfg.DATASETS, key) if key else ""
        if not path and in_metadata:
            self._images_of(name)  # completes the metadata of some sets
            path = MetadataCatalog.get(name).get(in_metadata)
        return self._state_of(path or "")


def _images_of(name: str) -> tuple[str, str]:
    """The states of a data set's list, with sizes, tags and classes, and of its image files: their
    names below the set's folder, and sizes (-1 for what is not there)."""
    records, metadata = DatasetCatalog.get(name), MetadataCatalog.get(name)
    folder = os.path.join(metadata.get("image_root") or "", "")
    rows, sizes = [], []
    for record in records:
        path = record["file_name"]
        below = path.removeprefix(folder) if path.startswith(folder) else os.path.basename(path)
        rows.append((below, *map(record.get, OF_RECORDS)))
        sizes.append((below, os.path.getsize(path) if os.path.isfile(path) else -1))
    listed = hash_of_content([metadata.get("thing_classes"), rows])[:DIGITS]
    return f"{len(rows)} images, {listed}", f"{len(rows)} files, {hash_of_content(sizes)[:DIGITS]}"


def _state_of(path: str) -> str:
    """Hash of a file, or of the names and contents in a folder; an address as it is."""
    if not path:
        return "none"
    if "://" in path:
        return path
    path = expand_path(path)
    if os.path.isfile(path):
        return hash_of_file(path)[:DIGITS]
    if not os.path.isdir(path):
        return NOT_THERE
    files = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name not in OF_VIEWERS and not name.startswith(".")
    ]
    rows = sorted((os.path.relpath(file, path), hash_of_file(file)) for file in files)
    return f"{len(rows)} files, {hash_of_content(rows)[:DIGITS]}"
