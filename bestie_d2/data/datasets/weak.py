"""Registration of weakly labelled data sets from the file formats that the stages share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from bestie_d2.data.datasets.object_masks import to_rle
from bestie_d2.data.datasets.true_objects import (
    RecordsWithTruth,
    known_annotations,
    objects_of_file,
)
from bestie_d2.data.images import UNREADABLE, image_size
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import POINTS, TAGS
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, load_json
from bestie_d2.data.labels.tags import keep_remarks, log_once, read_tags, tags_from_coco
from bestie_d2.data.names import check_inside, label_name, located, name_records, without_suffix
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError, naming

EVALUATOR_TYPE = "bestie"


@dataclass(frozen=True)
class WeakDataset:
    """Where a data set's files are; the arguments of :func:`register_weak_dataset`."""

    name: str
    images: str
    points: str | None = None
    tags: str | None = None
    cues: str | None = None
    weak_maps: str | None = None
    annotations: str | None = None
    class_maps: str | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not (self.points or self.tags or self.annotations):
            raise InputError(
                f"data set {self.name!r}: give 'tags' or 'points' (or 'annotations', to evaluate)"
            )


_registered: dict[str, WeakDataset] = {}


def register_weak_dataset(
    name: str,
    *,
    images: str,
    points: str | None = None,
    tags: str | None = None,
    cues: str | None = None,
    weak_maps: str | None = None,
    annotations: str | None = None,
    class_maps: str | None = None,
    classes: Sequence[str] | None = None,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Register a data set with Detectron2; no file is opened before its first use.

    Images, tags and class ids come from the first given of ``tags``, ``points``, ``annotations``.
    Only in the last case is the annotation file opened and are its ``annotations`` in the records;
    in the other two it is noted for the evaluator, and training never sees a mask.

    Args:
        images: the image folder.
        points: COCO-like JSON of given points, or an export of an annotation tool; the cues of the
            set unless ``cues`` is given.
        tags: COCO-style JSON, CSV, or an export of an annotation tool.
        cues: cue JSON or folder of text files.
        weak_maps: folder of index PNGs.
        annotations: COCO instance JSON, the truth of an evaluation set.
        class_maps: folder of index PNGs, the true class of each pixel: measured with, never
            trained on.
        classes: names in contiguous order; else the order of the category ids.
        prepare: called before the files are first read (to draw or unpack them).

    Raises:
        InputError: the name is taken by another data set, or the arguments don't go together.
    """
    names = tuple(classes or ()) or None
    dataset = WeakDataset(
        name, images, points, tags, cues, weak_maps, annotations, class_maps, names
    )
    if _registered.get(name) == dataset:
        return
    if name in DatasetCatalog:
        raise InputError(f"data set {name!r} is already registered with other arguments")
    _registered[name] = dataset

    def load() -> list[dict]:
        if prepare is not None:
            prepare()
        return load_weak_dataset(dataset)

    DatasetCatalog.register(name, load)
    known = {
        **{"image_root": images, "json_file": annotations, "weak_maps": weak_maps},
        **{"cues": cues or points, "tags": tags or points, "thing_classes": list(names or ())},
    }
    MetadataCatalog.get(name).set(
        evaluator_type=EVALUATOR_TYPE, **{key: value for key, value in known.items() if value}
    )


def register_custom_datasets(datasets: Sequence[Mapping]) -> None:
    """Register the data sets of the config key ``DATASETS.CUSTOM``.

    Args:
        datasets: dicts with ``name`` and the arguments of :func:`register_weak_dataset`. In paths
            ``~`` and ``$VAR`` are expanded.

    Raises:
        InputError: an unknown or missing key, an unset variable, or a name that is taken.
    """
    known = [field.name for field in fields(WeakDataset)]
    for number, entry in enumerate(datasets):
        where = f"DATASETS.CUSTOM[{number}]"
        if not isinstance(entry, Mapping):
            raise InputError(f"{where}: expected keys and values ({', '.join(known)})")
        for key, value in entry.items():
            if key not in known:
                raise InputError(f"{where}: unknown key {key!r}, known are {', '.join(known)}")
            types, what = ((list, tuple), "a list") if key == "classes" else (str, "text")
            if value is not None and not isinstance(value, types):
                raise InputError(f"{where}: {key!r} is {value!r}, expected {what}")
        for key in ("name", "images"):
            if not entry.get(key):
                raise InputError(f"{where}: {key!r} is missing")
        given = {key: value for key, value in entry.items() if value}
        given |= {key: expand_path(given[key]) for key in given.keys() - {"name", "classes"}}
        with naming(where):
            register_weak_dataset(**given)


def load_weak_dataset(dataset: WeakDataset) -> list[dict]:
    """The data set's records, in Detectron2's format; completes its metadata.

    Returns:
        A dict an image: ``file_name``, ``image_id``, ``height``, ``width``, ``image_classes``
        (sorted contiguous class ids) and, where the truth is all that is given, ``annotations``;
        what weak labels go by, where that is not the stem (:mod:`bestie_d2.data.names`).
        An image whose size the lists do not say and that cannot be opened has ``unreadable``, the
        reason, in place of its size; see :func:`bestie_d2.data.labels.attach.check_readable`.

    Raises:
        InputError: unreadable lists, two images of one name, an unknown category, or too many
            annotations that cannot be used.
    """
    source, data = dataset.tags or dataset.points or dataset.annotations or "", None
    if dataset.tags or dataset.points:
        kind = TAGS if dataset.tags else POINTS
        pictures = partial(Pictures.of_folder, dataset.images)
        tagged = read_tags(source, dataset.classes, kind=kind, pictures=pictures)
    else:
        data = load_json(source, IMAGE_LISTS)
        known = {**data, "annotations": known_annotations(source, data)}
        tagged = tags_from_coco(source, known, dataset.classes)
    records, names = tagged.records, dict[str, str]()
    check_inside(source, dataset.images, (record["file_name"] for record in records))
    for record in records:
        name = record["file_name"]
        key = without_suffix(name)
        if key in names:
            raise InputError(
                f"{source}: images {names[key]} and {name} have the same name, by which weak "
                "labels are found; rename one"
            )
        names[key] = name
    name_records(records)
    for record in records:
        name, folder = record["file_name"], dataset.images
        record["file_name"] = path = located(folder, name) or os.path.join(folder, name)
        if "height" not in record or "width" not in record:
            try:
                record["height"], record["width"] = image_size(path)
            except InputError as error:
                record[UNREADABLE] = str(error)
        if dataset.class_maps:
            file = f"{label_name(record)}.png"
            record["semantic_truth_file_name"] = os.path.join(dataset.class_maps, file)
    if data is not None:
        found = objects_of_file(source, data, records, tagged.classes, dataset.images)
        if found.bad:
            log_once(found.notices[-1], logging.WARNING)
        for record in records:
            objects = found.objects[record["image_id"]]
            record["annotations"] = [_as_trained(entry) for entry in objects]
        records = RecordsWithTruth(records, found)
    contiguous = {category_id: index for index, category_id in enumerate(tagged.category_ids)}
    MetadataCatalog.get(dataset.name).set(
        thing_classes=tagged.classes, thing_dataset_id_to_contiguous_id=contiguous
    )
    keep_remarks(dataset.name, tagged.remarks)
    return records


def _as_trained(entry: Mapping) -> dict:
    """An annotation of a COCO file, its class contiguous, in Detectron2's format."""
    keys = ("bbox", "category_id", "segmentation", "iscrowd")  # what trains on boxes checks them
    kept = {key: entry[key] for key in keys if key in entry}
    mask = kept["segmentation"]
    if isinstance(mask, dict):
        kept["segmentation"] = to_rle(mask, *mask["size"])
    return {**kept, "bbox_mode": BoxMode.XYWH_ABS}
