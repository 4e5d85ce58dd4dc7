"""The names of the classes that a model is trained with: compared between data sets, written down.

Networks know classes by number alone, so sets whose names differ would be confused without a word.
"""

from __future__ import annotations

import json
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.errors import InputError
from bestie_d2.storage.files import replacing
from bestie_d2.weights.checkpoint import classes_of_weights
from bestie_d2.weights.class_names import CLASSES, CLASSES_FILE, compare_classes


def classes_of(name: str) -> list[str]:
    """The class names of a registered data set in contiguous order; reads it if they are inferred.

    Raises:
        InputError: an unknown name, or a data set that cannot be read.
    """
    if name not in DatasetCatalog:
        raise InputError(f"data set {name!r} is not registered; see DATASETS.CUSTOM")
    if not MetadataCatalog.get(name).get("thing_classes"):
        DatasetCatalog.get(name)
    return list(MetadataCatalog.get(name).thing_classes)


def check_class_names(cfg: CfgNode) -> None:
    """Refuse training and test sets that do not all have the same classes in the same order.

    Raises:
        InputError: names two of them.
    """
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
    """Refuse data sets of other classes than ``MODEL.WEIGHTS`` was trained with.

    Weights that neither hold these nor have a ``classes.json`` beside them are taken as they are.

    Raises:
        InputError: names the data set, or a list of classes that is damaged.
    """
    trained = classes_of_weights(cfg.MODEL.WEIGHTS)
    if trained is None:
        return
    for name in names:
        what = f"that {cfg.MODEL.WEIGHTS} was trained with"
        compare_classes(what, trained, repr(name), classes_of(name))
