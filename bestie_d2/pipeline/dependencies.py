"""What the product of a stage depends on: which keys of a configuration, which parts of the data.

Data is compared by content, images by name and size; where it lies does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data import register_subset
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.model_keys import NUM_CLASSES_NODE
from bestie_d2.pipeline.definition import KINDS
from bestie_d2.storage.files import hash_of_content, hash_of_file, hash_of_folder, is_content

# Keys: in all of these a name stands for everything under it too, and * for any letters.

# Where and how fast it is computed, what is looked at meanwhile, names; and paths and parts of data
# sets, as what they name is compared by content.
NEVER = """
    MODEL.DEVICE CUDNN_BENCHMARK DATALOADER.NUM_WORKERS SOLVER.CHECKPOINT_PERIOD TEST.EVAL_PERIOD
    TEST.LABEL_PROGRESS TEST.EXPECTED_RESULTS OUTPUT_DIR VIS_PERIOD VERSION MODEL.WEIGHTS
    DATASETS.CUSTOM DATASETS.SUBSET DATASETS.TRAIN DATASETS.TEST DATASETS.CUES DATASETS.WEAK_MAPS
    DATASETS.INSTANCE_LABELS
"""
# Read when a trained model is used. TEST.PRECISE_BN is not among them: it changes the weights.
AT_USE = """
    TEST.DETECTIONS_PER_IMAGE TEST.MAX_DETECTIONS_PER_IMAGE TEST.AUG TEST.KEYPOINT_OKS_SIGMAS
    DATASETS.*_TEST INPUT.MIN_SIZE_TEST INPUT.MAX_SIZE_TEST INPUT.TEST_SIDE
    MODEL.*.TEST MODEL.*_TEST MODEL.PAM.CUES MODEL.BESTIE.SIZE_DIVISIBILITY
"""
# Read while a model is trained, and no more when it is used.
AT_TRAINING = """
    INPUT.BESTIE INPUT.TAGS INPUT.MAPPER INPUT.CROP INPUT.RANDOM_FLIP INPUT.*_TRAIN
    INPUT.MIN_SIZE_TRAIN_SAMPLING INPUT.MASK_FORMAT MODEL.*_TRAIN
    MODEL.BESTIE.SIGMA MODEL.BESTIE.MIN_AREA MODEL.BESTIE.WHOLE_PIXEL_CENTERS
    MODEL.BESTIE.SPLIT_WEIGHT MODEL.BESTIE.IAG MODEL.BESTIE.LOSS MODEL.BESTIE.REFINEMENT
    MODEL.BESTIE.BATCH_NORM_MOMENTUM
    MODEL.WSSS.MASK_LOSS_* MODEL.WSSS.FOCAL MODEL.WSSS.PSEUDO MODEL.WSSS.DROPOUT
"""

ALSO = {  # of kinds that use a model
    "export": "TEST.DETECTIONS_PER_IMAGE DATASETS.CUE_THRESHOLD",
    "evaluate": "TEST",
    "components": "TEST DATASETS.CUE_THRESHOLD",
}

# Parts of the data, as they are printed.
TAGS, IMAGES = "training set's list", "training set's image files"
CUES, WEAK_MAPS, LABELS = "cues", "weak maps", "instance labels"
MASKS, WEIGHTS = "true masks", "initial weights"
TEST_PARTS = tuple(f"test set's {part}" for part in ("list", "image files", MASKS, WEAK_MAPS))
DATA = {  # by kind of stage; what an earlier stage makes of it is compared as its product
    **dict.fromkeys(("pam", "wsss"), (TAGS, IMAGES, WEIGHTS)),
    **dict.fromkeys(("cues", "maps", "cam_maps", "export"), (TAGS, IMAGES)),
    "bestie": (TAGS, IMAGES, CUES, WEAK_MAPS, LABELS, WEIGHTS),
    "mrcnn": (IMAGES, WEIGHTS),
    "mrcnn_truth": (TAGS, IMAGES, MASKS, WEIGHTS),
    "components": (TAGS, IMAGES, *TEST_PARTS),
    "evaluate": TEST_PARTS,
}
# Kinds of stages that make parts.
MADE_BY = {"cues": CUES, "maps": WEAK_MAPS, "cam_maps": WEAK_MAPS, "export": LABELS}
KEYS = {CUES: "CUES", WEAK_MAPS: "WEAK_MAPS", LABELS: "INSTANCE_LABELS"}  # of DATASETS
IN_METADATA = {CUES: "cues", WEAK_MAPS: "weak_maps", MASKS: "json_file"}


def counts(kind: str, key: str, node: str) -> bool:
    """Whether a key of the configuration counts for a kind of stage: for a training all but those
    read AT_USE, for others MODEL and INPUT but what is read AT_TRAINING; of our models' keys, those
    of the one with this ``node`` under ``MODEL``."""
    if KINDS[kind].trains:
        among, without = "*", AT_USE
        without += "" if CUES in DATA[kind] else " DATASETS.CUE_THRESHOLD"
    else:
        among, without = f"MODEL INPUT {ALSO.get(kind, '')}", AT_TRAINING
    others = (f"MODEL.{other}" for other in NUM_CLASSES_NODE.values() if other != node)
    return _is_among(key, among) and not _is_among(key, " ".join([NEVER, without, *others]))


def _is_among(key: str, names: str) -> bool:
    return any(fnmatchcase(key, n) or fnmatchcase(key, f"{n}.*") for n in names.split())


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
        is_test, kind = part in TEST_PARTS, part.removeprefix("test set's ")
        name = self._test_set if is_test else self._train_set
        name = register_subset(name, cfg.DATASETS.SUBSET)
        if part.endswith(("list", "image files")):
            return self._images_of(name)[part.endswith("files")]
        path = getattr(cfg.DATASETS, KEYS[kind]) if kind in KEYS and not is_test else ""
        if not path and kind in IN_METADATA:
            self._images_of(name)  # completes the metadata of some sets
            path = MetadataCatalog.get(name).get(IN_METADATA[kind])
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
    files = []
    for folder, folders, names in os.walk(path):
        folders[:] = filter(is_content, folders)  # the others are not walked into
        files += [os.path.join(folder, name) for name in names if is_content(name)]
    rows = sorted((os.path.relpath(file, path), hash_of_file(file)) for file in files)
    return f"{len(rows)} files, {hash_of_content(rows)[:DIGITS]}"
