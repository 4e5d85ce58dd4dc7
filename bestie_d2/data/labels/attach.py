"""The records of a data set with what a training reads beside the images: tags, or weak maps and
cues. All that needs no pixel to be read is checked here, before it starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.images import UNREADABLE
from bestie_d2.data.labels.cue_files import read_cues_of_records
from bestie_d2.data.labels.index_png import check_map_size, check_maps_hold_classes
from bestie_d2.data.labels.kept_classes import KEPT, MAP_KEPT, KeptClasses
from bestie_d2.data.labels.label_files import is_folder_of_text
from bestie_d2.data.names import label_name, label_path, missing
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.storage.files import read_json
from bestie_d2.structures import PointCues
from bestie_d2.weights.class_names import classes_in, compare_classes

WEAK_MAP_SUFFIX = ".png"
MADE_WITH = "made_with.json"  # in a folder of maps of ours: the settings that they were made with
CUE_SCORE_THRESHOLD = 0.7  # the released recipe's: cues above it are used in training

logger = logging.getLogger(__name__)


def registered_records(name: str) -> list[dict]:
    """The records of a data set of Detectron2's catalog; an unknown name is an ``InputError``."""
    if name not in DatasetCatalog:
        raise InputError(f"data set {name!r} is not registered; see DATASETS.CUSTOM")
    return DatasetCatalog.get(name)


def load_tagged_records(name: str, num_classes: int) -> list[dict]:
    """The records of a registered data set with their ``image_classes``, but for images without
    any tag: they teach nothing. ``num_classes`` is the model's."""
    records = registered_records(name)
    check_classes(MetadataCatalog.get(name).thing_classes, num_classes)
    check_present("image", [record["file_name"] for record in records])
    check_readable(records)
    kept = [record for record in records if record["image_classes"]]
    if not kept:
        raise InputError(f"data set {name!r}: none of its {len(records)} images has a tag")
    if len(kept) < len(records):
        logger.info("%s: %d images without any tag left out", name, len(records) - len(kept))
    return [{k: v for k, v in record.items() if k != "annotations"} for record in kept]


def load_weak_records(
    name: str,
    *,
    num_classes: int,
    weak_maps: str = "",
    cues: str = "",
    score_threshold: float = CUE_SCORE_THRESHOLD,
) -> list[dict]:
    """:func:`attach_weak_labels` to the records of a registered data set, with the weak maps and
    cues of :func:`weak_label_paths`."""
    records, metadata = registered_records(name), MetadataCatalog.get(name)
    folder, cue_path = weak_label_paths(name, weak_maps=weak_maps, cues=cues)
    classes_in_maps(name, folder)
    return attach_weak_labels(
        records,
        weak_maps=folder,
        cues=cue_path,
        classes=metadata.thing_classes,
        num_classes=num_classes,
        score_threshold=score_threshold,
        kept=metadata.get(KEPT),
    )


def weak_label_paths(name: str, *, weak_maps: str = "", cues: str = "") -> tuple[str, str]:
    """The folder of weak maps and the cues of a registered data set, or the paths that replace
    them unless empty; ``~`` and ``$VAR`` are expanded. Where only some classes of the set count,
    what replaces them has to name its classes."""
    maps = expand_path(weak_maps) or MetadataCatalog.get(name).get("weak_maps")
    return _named(name, "WEAK_MAPS", maps), _cue_path(name, cues)


def _named(name: str, key: str, path: str | None) -> str:
    if not path:
        raise InputError(f"data set {name!r} is registered without them: set DATASETS.{key}")
    return path


def _cue_path(name: str, cues: str) -> str:
    metadata = MetadataCatalog.get(name)
    path = _named(name, "CUES", expand_path(cues) or metadata.get("cues"))
    given = metadata.get(KEPT) and path != metadata.get("cues")
    if given and is_folder_of_text(path):
        why = f"text files know classes by number alone, and only some count in {name!r}"
        raise InputError(f"DATASETS.CUES {path}: {why}: name a JSON file, which has their names")
    return path


def attach_points(
    name: str, records: Sequence[dict], cues: str = "", score_threshold: float = CUE_SCORE_THRESHOLD
) -> tuple[str, list[dict]]:
    """The file or folder of a registered data set's points, or ``cues`` in its place, and copies of
    the set's records with them as ``cues``; arguments as of :func:`load_weak_records`."""
    path, metadata = _cue_path(name, cues), MetadataCatalog.get(name)
    found = _cues_of(path, records, metadata.thing_classes, metadata.get(KEPT), score_threshold)
    return path, [{**r, "cues": points} for r, points in zip(records, found, strict=True)]


def weak_map_path(folder: str, record: Mapping) -> str:
    """Where the weak map of a record's image is, or would be."""
    return label_path(folder, record, WEAK_MAP_SUFFIX)


def attach_weak_labels(
    records: list[dict],
    *,
    weak_maps: str,
    cues: str,
    classes: Sequence[str],
    num_classes: int,
    score_threshold: float = CUE_SCORE_THRESHOLD,
    kept: KeptClasses | None = None,
) -> list[dict]:
    """Copies of the records with ``sem_seg_file_name`` and ``cues`` (:class:`PointCues`).

    Args:
        weak_maps: folder of ``<label name>.png``.
        cues: cue or point file, or the folder of text files; given points score 1.
        classes: names of the data set's classes, in contiguous order.
        num_classes: C of the model.
        score_threshold: only cues that score above it are kept.
        kept: of a data set of which only some classes count.
    """
    if not records:
        raise InputError("the data set has no images")
    check_classes(classes, num_classes)
    if not os.path.isdir(weak_maps):
        raise InputError(f"weak maps {weak_maps}: no such folder")
    maps_kept = check_map_classes(weak_maps, classes, kept)
    maps = [weak_map_path(weak_maps, record) for record in records]
    check_present("image", [record["file_name"] for record in records])
    check_readable(records)
    check_present("weak map", maps)
    check_maps_hold_classes(weak_maps, maps)
    for path, record in zip(maps, records, strict=True):
        check_map_size(path, (record["height"], record["width"]))
    found = _cues_of(cues, records, classes, kept, score_threshold)
    columns = zip(records, maps, found, strict=True)
    return [{**with_weak_map(r, path, maps_kept), "cues": points} for r, path, points in columns]


def _cues_of(
    cues: str,
    records: Sequence[dict],
    classes: Sequence[str],
    kept: KeptClasses | None,
    score_threshold: float,
) -> list[PointCues]:
    """The cues of each record's image that score above the threshold; told where some images are
    not in the file, refused where all are not."""
    by_name = read_cues_of_records(cues, records, classes=classes, kept=kept)
    without = [name for name in map(label_name, records) if name not in by_name]
    if len(without) == len(records):
        raise InputError(
            f"cues {cues}: none of the data set's {len(records)} images is in it; the first is "
            f"{without[0]}"
        )
    if without:
        told = "cues %s: %d of %d images are not in it and give no pseudo label, first %s"
        logger.warning(told, cues, len(without), len(records), without[0])
    found = [by_name.get(label_name(record), PointCues.empty()) for record in records]
    return [points[points.scores > score_threshold] for points in found]


def with_weak_map(record: Mapping, path: str, maps_kept: KeptClasses | None) -> dict:
    """A copy of a record with ``sem_seg_file_name``; ``maps_kept`` of :func:`classes_in_maps`."""
    return {**record, "sem_seg_file_name": path, **({MAP_KEPT: maps_kept} if maps_kept else {})}


def check_classes(classes: Sequence[str], num_classes: int) -> None:
    """Refuse a data set of another number of classes than the model's."""
    if len(classes) != num_classes:
        raise InputError(
            f"the model has {num_classes} classes, the data set {len(classes)} "
            f"({', '.join(classes)}): set the model's number of classes to {len(classes)}"
        )


def classes_in_maps(name: str, folder: str) -> KeptClasses | None:
    """:func:`check_map_classes` of a folder of weak maps for a registered data set. One that it is
    not registered with has to say what it was made with where only some of the classes count."""
    metadata = MetadataCatalog.get(name)
    if not metadata.get("thing_classes"):
        registered_records(name)  # completes the metadata
    kept = metadata.get(KEPT)
    given = os.path.isdir(folder) and folder != metadata.get("weak_maps")
    if kept and given and _made_with(folder) is None:
        raise InputError(
            f"weak maps {folder}: do not say whether their indices are those of {name!r} or of all "
            f'classes: write {{"classes": [...]}}, the names of class 1, 2, ..., into '
            f"{os.path.join(folder, MADE_WITH)}"
        )
    return check_map_classes(folder, metadata.thing_classes, kept)


def check_map_classes(
    weak_maps: str, classes: Sequence[str], kept: KeptClasses | None = None
) -> KeptClasses | None:
    """Refuse a folder of weak maps that says it was made with other classes; maps by other programs
    say nothing and are taken as they are.

    Where only some classes count, ``kept``, maps may have the indices of all classes, and those
    that say nothing do: then it comes back, to read them with.
    """
    made = _made_with(weak_maps)
    if kept and tuple(made or kept.whole) == kept.whole:
        return kept
    if made is not None:
        compare_classes(f"of the weak maps in {weak_maps}", made, "the data set", classes)
    return None


def _made_with(weak_maps: str) -> list[str] | None:
    """The names of the classes that a folder of weak maps was made with, if it says them."""
    path = os.path.join(weak_maps, MADE_WITH)
    try:
        settings = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); it says what the maps are") from None
    return classes_in(settings, path) if isinstance(settings, dict) else None


def check_readable(records: Sequence[dict]) -> None:
    """Refuse records of which any has an image that could not be opened for its size."""
    for record in records:
        if UNREADABLE in record:
            raise InputError(record[UNREADABLE])


def check_present(what: str, paths: list[str]) -> None:
    """Refuse paths of which any is no file."""
    absent = [path for path in paths if not os.path.isfile(path)]
    if absent:
        others = f" ({len(absent)} of {len(paths)} are missing)" if len(paths) > 1 else ""
        raise InputError(f"{missing(what, absent[0])}{others}")
