"""What a stage's data is, part by part: lists and maps by content, images by name and size.

Names of folders don't count: data that was only moved is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.pipeline import dependencies as part
from bestie_d2.storage.files import OF_VIEWERS, hash_of_content, hash_of_file

NOT_THERE = "not there"  # in place of a hash: the stage that reads it will say what is wrong
NONE = "none"  # nothing is named
DIGITS = 16  # of a hash, enough to tell files apart

OF_RECORDS = ("image_id", "height", "width", "image_classes")


def states_of_data(
    parts: Iterable[str], cfg: CfgNode, train_set: str, test_set: str
) -> dict[str, str]:
    """The state of each part of the data, by its name in ``dependencies``."""
    data = cfg.DATASETS
    states: dict[str, Callable[[], str]] = {
        part.TAGS: lambda: _list_of(train_set),
        part.IMAGES: lambda: _image_files_of(train_set),
        part.CUES: lambda: _state_of(data.CUES or _metadata(train_set, "cues")),
        part.WEAK_MAPS: lambda: _state_of(data.WEAK_MAPS or _metadata(train_set, "weak_maps")),
        part.LABELS: lambda: _state_of(data.INSTANCE_LABELS),
        part.MASKS: lambda: _state_of(_metadata(train_set, "json_file")),
        part.WEIGHTS: lambda: _state_of(cfg.MODEL.WEIGHTS),
        part.TEST_LIST: lambda: _list_of(test_set),
        part.TEST_IMAGES: lambda: _image_files_of(test_set),
        part.TEST_MASKS: lambda: _state_of(_metadata(test_set, "json_file")),
        part.TEST_MAPS: lambda: _state_of(_metadata(test_set, "weak_maps")),
    }
    return {name: _told(states[name]) for name in parts}


def _told(state: Callable[[], str]) -> str:
    try:
        return state()
    except (InputError, OSError):
        return NOT_THERE


def _records(name: str) -> list[tuple[str, dict]]:
    """The records of a data set, each with the image's name below the set's folder."""
    records = DatasetCatalog.get(name)
    folder = os.path.join(MetadataCatalog.get(name).get("image_root") or "", "")
    return [(_below(folder, record["file_name"]), record) for record in records]


def _below(folder: str, path: str) -> str:
    return path.removeprefix(folder) if path.startswith(folder) else os.path.basename(path)


def _list_of(name: str) -> str:
    """Images with their sizes and tags, and the classes."""
    rows = [(file, *map(record.get, OF_RECORDS)) for file, record in _records(name)]
    classes = MetadataCatalog.get(name).get("thing_classes")
    return f"{len(rows)} images, {hash_of_content([classes, rows])[:DIGITS]}"


def _image_files_of(name: str) -> str:
    rows = [(file, _size_of(record["file_name"])) for file, record in _records(name)]
    return f"{len(rows)} files, {hash_of_content(rows)[:DIGITS]}"


def _metadata(name: str, key: str) -> str:
    DatasetCatalog.get(name)  # completes the metadata of some sets
    return MetadataCatalog.get(name).get(key) or ""


def _state_of(path: str) -> str:
    """Hash of a file, or of the names and contents in a folder; an address as it is."""
    if not path:
        return NONE
    if "://" in path:
        return path
    path = expand_path(path)
    if os.path.isfile(path):
        return hash_of_file(path)[:DIGITS]
    if not os.path.isdir(path):
        return NOT_THERE
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    files = [file for file in files if os.path.basename(file) not in OF_VIEWERS]
    files = [file for file in files if not os.path.basename(file).startswith(".")]
    rows = sorted((os.path.relpath(file, path), hash_of_file(file)) for file in files)
    return f"{len(rows)} files, {hash_of_content(rows)[:DIGITS]}"


def _size_of(path: str) -> int:
    """In bytes; -1 for a file that is not there."""
    return os.path.getsize(path) if os.path.isfile(path) else -1
