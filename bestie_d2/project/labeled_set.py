"""What a user brings: pictures, points or tags of them, and the truth of some."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog

from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.data.images import UNREADABLE
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import POINTS, TAGS
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, load_json
from bestie_d2.data.labels.cue_files import read_cues_of_records
from bestie_d2.data.labels.label_files import load_labels
from bestie_d2.data.names import label_name, path_name, relative_name
from bestie_d2.data.picture_files import find_pictures
from bestie_d2.errors import InputError
from bestie_d2.storage.files import write_json_lists
from bestie_d2.structures import PointCues

TRUTH = "annotations"  # as DATASETS.CUSTOM calls it
SCRATCH_NAME = "project that is begun"  # of the data set, while its files are read
SPLIT_SEED = 1


@dataclass(frozen=True)
class LabeledSet:
    """Pictures with weak labels.

    Attributes:
        kind: ``POINTS`` or ``TAGS``.
        records: of the pictures that can be read, in Detectron2's format.
        classes: names in contiguous order.
        cues: points by label name; empty for tags.
        remarks: lines on what is not used.
    """

    kind: str
    records: list[dict]
    classes: list[str]
    cues: dict[str, PointCues] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def read_labels(images: str, labels: str, kind: str = "") -> LabeledSet:
    """Read whatever ``DATASETS.CUSTOM`` takes.

    Args:
        images: folder of the pictures.
        kind: ``POINTS`` or ``TAGS``; what there is if empty, points if there are both.

    Raises:
        InputError: no picture can be read, there are no points, or tags that can teach nothing.
    """
    if not Path(images).is_dir():
        raise InputError(f"--images {images}: no such folder")
    pictures = partial(Pictures.of_folder, images, "--images")
    kind, found = load_labels(labels, kind, pictures=pictures)
    records, classes = _load(images, labels, kind)
    bad = [record["file_name"] for record in records if UNREADABLE in record]
    remarks = [*found.remarks] if found else []
    remarks += [f"{len(bad)} pictures cannot be read (first {name})" for name in bad[:1]]
    if without := _without_labels(images, records):
        remarks.append(f"{without} pictures of the folder are not in the labels")
    records = [record for record in records if UNREADABLE not in record]
    if not records:
        raise InputError(f"--labels {labels}: none of its pictures can be read in {images}")
    if kind == TAGS:
        if len(classes) == 1 and all(record["image_classes"] for record in records):
            raise InputError(
                f"--labels {labels}: every picture has the one tag {classes[0]!r}, of which "
                "nothing can be learned; click a point in each object, or add pictures without any"
            )
        return LabeledSet(kind, records, classes, remarks=remarks)
    problems: list[InputError] = []
    cues = read_cues_of_records(labels, records, classes=classes, on_problem=problems.append)
    if not sum(map(len, cues.values())):
        raise InputError(f"--labels {labels}: has no points")
    if problems:
        remarks.append(f"{len(problems)} points cannot be used (first: {problems[0]})")
    return LabeledSet(kind, records, classes, cues, remarks)


def _without_labels(images: str, records: Iterable[dict]) -> int:
    """How many pictures of a folder the labels do not name."""
    named = {os.path.abspath(record["file_name"]) for record in records}
    with contextlib.suppress(InputError):  # pictures of unusual suffixes alone
        return len({*map(os.path.abspath, find_pictures([images]).values())} - named)
    return 0


def _load(
    images: str, path: str, kind: str, classes: Sequence[str] = ()
) -> tuple[list[dict], list[str]]:
    """The records of a file, and the classes, in the order asked for if any is."""
    names = tuple(classes) or None
    try:
        records = load_weak_dataset(
            WeakDataset(SCRATCH_NAME, images, classes=names, **{kind: path})
        )
        return list(records), list(MetadataCatalog.get(SCRATCH_NAME).thing_classes)
    finally:
        MetadataCatalog.pop(SCRATCH_NAME, None)  # another file has other classes


def _has(path: str, member: str) -> bool:
    """Whether a file is a COCO-like JSON with this list."""
    with contextlib.suppress(InputError):
        return member in load_json(path, IMAGE_LISTS)
    return False


def holds_masks(path: str) -> bool:
    """Whether a file is a COCO JSON of true objects."""
    return _has(path, "annotations") and any(
        entry.get("segmentation") for entry in load_json(path, IMAGE_LISTS)["annotations"]
    )


def read_truth_records(images: str, truth: str, classes: Sequence[str]) -> list[dict]:
    """The readable records of a COCO file of true objects of these classes, in any order."""
    records, _ = _load(images, truth, TRUTH, classes)
    return [record for record in records if UNREADABLE not in record]


def split_off(
    labeled: Sequence[dict], known: Sequence[dict], share: float
) -> tuple[list[dict], list[dict]]:
    """Records to train on and records of the truth to measure on, which share no picture.

    Pictures with truth and without labels are there to measure on; if there are none, a random
    ``share`` of those with truth is, and nothing learns from these.
    """
    names = set(map(path_name, labeled))
    val = [record for record in known if path_name(record) not in names]
    if not val and known:
        count = max(1, round(share * len(known)))
        chosen = np.random.default_rng(SPLIT_SEED).permutation(len(known))[:count]
        val = [known[index] for index in sorted(chosen.tolist())]
    taken = set(map(path_name, val))
    train = [record for record in labeled if path_name(record) not in taken]
    if not train:
        raise InputError("--val-share: nothing is left to train on; give more labels or less truth")
    return train, val


def write_labels(path: Path, labeled: LabeledSet, records: Iterable[dict]) -> None:
    """Write the points or tags of these records as the project's JSON."""
    images, entries = [], []
    for record in records:
        size = {key: record[key] for key in ("height", "width")}
        image = {"image_id": record["image_id"]}
        images.append({"id": record["image_id"], "file_name": relative_name(record), **size})
        if labeled.kind == TAGS:
            entries += [{**image, "category_id": c + 1} for c in record["image_classes"]]
            continue
        cues = labeled.cues.get(label_name(record), PointCues.empty())
        entries += [
            {**image, "category_id": index + 1, "point": [x, y]}
            for index, (y, x) in zip(cues.classes.tolist(), cues.yx.tolist(), strict=True)
        ]
    categories = [{"id": i, "name": name} for i, name in enumerate(labeled.classes, start=1)]
    member = "points" if labeled.kind == POINTS else "annotations"
    write_json_lists(path, {"images": images, "categories": categories, member: entries})


def write_truth(path: Path, source: str, records: Iterable[dict]) -> None:
    """Write what a COCO file of true objects says of these records of it."""
    data, ids = load_json(source, IMAGE_LISTS), {record["image_id"] for record in records}
    members = {
        "images": [image for image in data["images"] if image["id"] in ids],
        "categories": data["categories"],
        "annotations": [entry for entry in data["annotations"] if entry["image_id"] in ids],
    }
    write_json_lists(path, members)
