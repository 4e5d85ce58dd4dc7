"""The records of a data set with everything that a training attaches, however much of it is bad."""

from __future__ import annotations

import os

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.checks.findings import Findings
from bestie_d2.data import expand_path
from bestie_d2.data.images import UNREADABLE
from bestie_d2.data.labels.attach import (
    check_classes,
    check_map_classes,
    weak_label_paths,
    weak_map_path,
)
from bestie_d2.data.labels.cue_files import read_cues_of_records
from bestie_d2.data.labels.index_png import check_maps_hold_classes
from bestie_d2.data.labels.instance_files import attach_instance_labels
from bestie_d2.data.labels.remarks import remarks_of
from bestie_d2.data.names import label_name
from bestie_d2.errors import InputError
from bestie_d2.model_keys import num_classes
from bestie_d2.structures import PointCues

LISTS = "lists of images, tags and classes"
CUES = "cues"
WITHOUT_CUES = "images that are not in the cues"
WEAK_MAPS = "weak maps"
INSTANCE_LABELS = "instance labels"
PATHS = {  # of a data set's metadata
    "images": "image_root",
    "tags or points": "tags",
    "truth": "json_file",
}
WEAK_PATHS = {"weak maps": "weak_maps", "cues": "cues"}  # read for BESTIE's training alone


def read_records(cfg: CfgNode, name: str, findings: Findings) -> list[dict]:
    """The records of a registered data set; what is wrong with its lists is a problem."""
    with findings.catching(LISTS):
        if name not in DatasetCatalog:
            raise InputError(f"data set {name!r} is not registered; see DATASETS.CUSTOM")
        records = DatasetCatalog.get(name)
        for line in remarks_of(name):
            findings.notice(LISTS, line)
        if not records:
            raise InputError(f"data set {name!r} has no images")
        with findings.catching(LISTS):
            check_classes(MetadataCatalog.get(name).thing_classes, num_classes(cfg))
        return records
    return []


def paths_of(cfg: CfgNode, name: str, *, weak_labels: bool) -> list[str]:
    """A line for each path of a data set; of weak labels, what the configuration puts there."""
    if name not in DatasetCatalog:
        return []
    metadata = MetadataCatalog.get(name)
    paths = {what: metadata.get(key) for what, key in PATHS.items()}
    if weak_labels:
        node = cfg.DATASETS
        paths |= {what: metadata.get(key) for what, key in WEAK_PATHS.items()}
        replaced = {
            "weak maps": expand_path(node.WEAK_MAPS),
            "cues": expand_path(node.CUES),
            "instance labels": expand_path(node.INSTANCE_LABELS),
        }
        paths |= {what: path for what, path in replaced.items() if path}
    return [f"  {what}: {os.path.abspath(path)}" for what, path in paths.items() if path]


def with_weak_labels(
    cfg: CfgNode, name: str, records: list[dict], findings: Findings
) -> list[dict]:
    """The records with ``cues``, and with ``sem_seg_file_name`` and ``instance_labels`` if known;
    none where the data set has no weak labels."""
    with findings.catching(WEAK_MAPS):
        folder, cue_path = weak_label_paths(
            name, weak_maps=cfg.DATASETS.WEAK_MAPS, cues=cfg.DATASETS.CUES
        )
        cues = _read_all_cues(cue_path, name, records, findings)
        labelled = [
            {**record, "cues": cues.get(label_name(record), PointCues.empty())}
            for record in records
        ]
        if not os.path.isdir(folder):
            raise InputError(f"weak maps {folder}: no such folder")
        with findings.catching(WEAK_MAPS):
            check_map_classes(folder, MetadataCatalog.get(name).thing_classes)
        for record in labelled:
            record["sem_seg_file_name"] = weak_map_path(folder, record)
        with findings.catching(WEAK_MAPS):
            paths = [record["sem_seg_file_name"] for record in labelled]
            check_maps_hold_classes(folder, paths)
        return _with_instance_labels(cfg, name, labelled, findings)
    return records


def _read_all_cues(
    path: str, name: str, records: list[dict], findings: Findings
) -> dict[str, PointCues]:
    """The cues that can be used, by label name."""
    classes = MetadataCatalog.get(name).thing_classes
    with findings.catching(CUES):
        cues = read_cues_of_records(
            path,
            records,
            classes=classes,
            on_problem=lambda problem: findings.add(CUES, problem),
            on_remark=lambda line: findings.notice(CUES, line),
        )
        for record in records:
            if label_name(record) not in cues:
                findings.notice(WITHOUT_CUES, record["file_name"])
        return cues
    return {}


def _with_instance_labels(
    cfg: CfgNode, name: str, records: list[dict], findings: Findings
) -> list[dict]:
    path = expand_path(cfg.DATASETS.INSTANCE_LABELS)
    if path and not any(UNREADABLE in record for record in records):
        with findings.catching(INSTANCE_LABELS):
            return attach_instance_labels(records, path, MetadataCatalog.get(name).thing_classes)
    return records
