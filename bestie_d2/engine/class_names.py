"""The names of the classes that a model is trained with: compared between data sets, written down.

Networks know classes by number alone, so sets whose names differ would be confused without a word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.errors import InputError
from bestie_d2.evaluation.result_shards import replacing

CLASSES_FILE = "classes.json"  # in OUTPUT_DIR, beside the checkpoints


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
        _compare(f"of {sets[0][0]}", classes_of(sets[0][1]), what, classes_of(name))


def write_class_names(cfg: CfgNode) -> None:
    """Write ``classes.json`` into ``OUTPUT_DIR``: the names of the training set's classes."""
    content = {"classes": classes_of(cfg.DATASETS.TRAIN[0])}
    with replacing(Path(cfg.OUTPUT_DIR, CLASSES_FILE)) as file:
        json.dump(content, file, ensure_ascii=False, indent=1)


def check_trained_classes(cfg: CfgNode, name: str) -> None:
    """Refuse a data set of other classes than ``MODEL.WEIGHTS`` was trained with.

    Weights without a ``classes.json`` beside them are taken as they are.

    Raises:
        InputError: names the data set, or a ``classes.json`` that cannot be read.
    """
    path = os.path.join(os.path.dirname(cfg.MODEL.WEIGHTS), CLASSES_FILE)
    if not os.path.isfile(path):
        return
    trained = _read_class_names(path)
    _compare(f"that {cfg.MODEL.WEIGHTS} was trained with", trained, repr(name), classes_of(name))


def _read_class_names(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        content = None
    names = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{path}: does not hold the classes that the weights beside it were trained with; "
            "remove it to use them all the same"
        )
    return names


def _compare(what: str, classes: Sequence[str], other: str, found: Sequence[str]) -> None:
    if list(classes) == list(found):
        return
    how = "in another order" if sorted(classes) == sorted(found) else "other ones"
    raise InputError(
        f"the classes {what} are {', '.join(classes)}, those of {other} {how} ({', '.join(found)})"
    )
