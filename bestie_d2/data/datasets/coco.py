"""COCO 2017 as weakly labelled sets: tags from the official files, or points made from them.

Detectron2's own ``coco_2017_train`` and ``coco_2017_val`` hold masks; these never do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.datasets.weak import EVALUATOR_TYPE
from bestie_d2.data.labels.remarks import keep_remarks, log_once
from bestie_d2.data.labels.tags import TaggedImages, read_tags
from bestie_d2.errors import InputError

COCO_FOLDER = "coco"
SPLITS = ("train", "val")
NAMES_OF_CLASSES = "coco_2017_val"  # Detectron2's own set, which has them before any file is read
POINTS_HINT = "make it with python datasets/prepare_coco.py"
TRUTH_HINT = "put COCO 2017 there as datasets/README.md shows"


def register_coco(root: str) -> None:
    """Register ``coco_2017_{train,val}_{tags,point}``; nothing is opened before first use.

    Their truth is the official annotation file in ``root/coco/annotations``, which the metadata
    names for evaluators; the records have tags alone.
    """
    folder = os.path.join(root, COCO_FOLDER)
    classes = list(MetadataCatalog.get(NAMES_OF_CLASSES).thing_classes)
    for split in SPLITS:
        truth, points = instances_path(folder, split), points_path(folder, split)
        sources = {
            f"coco_2017_{split}_tags": (truth, os.path.join(folder, "Peak_points")),
            f"coco_2017_{split}_point": (points, points),
        }
        for name, (source, cues) in sources.items():

            def load(name: str = name, source: str = source, split: str = split) -> list[dict]:
                return load_coco(name, folder, source, split)

            DatasetCatalog.register(name, load)
            MetadataCatalog.get(name).set(
                thing_classes=classes,
                image_root=image_folder(folder, split),
                tags=source,
                json_file=truth,
                weak_maps=os.path.join(folder, "WSSS_maps"),
                cues=cues,
                evaluator_type=EVALUATOR_TYPE,
            )


def image_folder(folder: str, split: str) -> str:
    """The images of a split of ``coco``."""
    return os.path.join(folder, f"{split}2017")


def instances_path(folder: str, split: str) -> str:
    """The official annotation file of a split."""
    return os.path.join(folder, "annotations", f"instances_{split}2017.json")


def points_path(folder: str, split: str) -> str:
    """The point labels of a split, which ``datasets/prepare_coco.py`` makes."""
    return os.path.join(folder, "annotations", f"points_{split}2017.json")


def load_coco(name: str, folder: str, source: str, split: str) -> list[dict]:
    """The records of a split, in Detectron2's format, with ``image_classes``.

    A crowd region gives no tag. Images without a tag are left out of ``train``, since they would
    teach that all they show is background; ``val`` has every image.

    Args:
        name: the registered name; its metadata are completed.
        folder: ``coco``.
        source: COCO-style JSON with ``annotations`` or ``points``.

    Raises:
        InputError: a missing or unreadable file, or other categories than COCO's.
    """
    if not os.path.isfile(source):
        hint = POINTS_HINT if source == points_path(folder, split) else TRUTH_HINT
        raise InputError(f"{source}: no such file; {hint}")
    metadata = MetadataCatalog.get(name)
    changed = os.stat(source).st_mtime_ns
    tagged = _read_once(source, tuple(metadata.thing_classes), changed)
    metadata.thing_dataset_id_to_contiguous_id = {
        category_id: index for index, category_id in enumerate(tagged.category_ids)
    }
    keep_remarks(name, tagged.remarks)
    _tell_gaps(source, tagged.category_ids)
    images = image_folder(folder, split)
    records = [
        {**record, "file_name": os.path.join(images, record["file_name"])}
        for record in tagged.records
    ]
    if split != "train":
        return records
    kept = [record for record in records if record["image_classes"]]
    untagged = len(records) - len(kept)
    log_once(f"{source}: {untagged} of {len(records)} images have no tag and are left out")
    return kept


@lru_cache(maxsize=2 * len(SPLITS))
def _read_once(source: str, classes: tuple[str, ...], changed: int) -> TaggedImages:
    """The tags of a file, which has 860,000 annotations and is asked for several times in a run.

    Args:
        changed: when the file was last written; what an older one said is not taken.
    """
    return read_tags(source, classes)


def without_crowds(annotations: Sequence[dict]) -> list[dict]:
    """The annotations of single objects."""
    return [entry for entry in annotations if not entry.get("iscrowd", 0)]


def _tell_gaps(source: str, category_ids: Sequence[int]) -> None:
    ids = sorted(category_ids)
    gaps = ", ".join(str(i) for i in range(ids[0], ids[-1]) if i not in ids)
    log_once(
        f"{source}: the category ids {ids[0]} to {ids[-1]} (without {gaps or 'a gap'}) are the "
        f"classes 0 to {len(ids) - 1}"
    )
