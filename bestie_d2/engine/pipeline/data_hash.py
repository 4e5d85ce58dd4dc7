"""Whether a stage's data is what it was: lists by content, images and maps by name and size."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.paths import expand_path
from bestie_d2.engine.labeling_runs.fingerprint import hash_of_file
from bestie_d2.errors import InputError

LABELS = ("json_file", "cues", "weak_maps")  # of a data set's metadata
NOT_THERE = "not there"  # in place of a hash: the stage that reads it will say what is wrong


def hash_of_data(names: Iterable[str], configs: Iterable[CfgNode]) -> str:
    """SHA-256 over data sets, and over the files that configurations name beside them."""
    digest = hashlib.sha256()
    try:
        for name in names:
            for part in _parts_of_set(name):
                digest.update(part.encode() + b"\n")
        for cfg in configs:
            data = cfg.DATASETS
            for path in (cfg.MODEL.WEIGHTS, data.CUES, data.WEAK_MAPS, data.INSTANCE_LABELS):
                digest.update(_state_of(expand_path(path) if path else "").encode() + b"\n")
    except InputError:
        return NOT_THERE
    return digest.hexdigest()


def _parts_of_set(name: str) -> Iterator[str]:
    records = DatasetCatalog.get(name)
    yield json.dumps(records, sort_keys=True, default=str)
    yield from (_size_of(record["file_name"]) for record in records)
    metadata = MetadataCatalog.get(name)
    yield from (_state_of(metadata.get(key) or "") for key in LABELS)


def _state_of(path: str) -> str:
    """Hash of a file; names and sizes in a folder and below; "" for what is neither."""
    if os.path.isfile(path):
        return hash_of_file(path)
    if os.path.isdir(path):
        files = ((folder, name) for folder, _, names in os.walk(path) for name in names)
        paths = filter(os.path.isfile, (os.path.join(folder, name) for folder, name in files))
        return json.dumps(sorted((os.path.relpath(p, path), os.path.getsize(p)) for p in paths))
    return ""


def _size_of(path: str) -> str:
    return str(os.path.getsize(path)) if os.path.isfile(path) else NOT_THERE
