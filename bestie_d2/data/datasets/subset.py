"""Some classes of a registered data set, whatever that was made from, as a set of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.datasets.true_objects import RecordsWithTruth
from bestie_d2.data.labels.attach import registered_records
from bestie_d2.data.labels.kept_classes import KEPT, NOWHERE, KeptClasses
from bestie_d2.data.labels.tags import keep_remarks, remarks_of
from bestie_d2.errors import InputError
from bestie_d2.storage.files import hash_of_content

LONGEST = 60  # characters of classes in a name, which is also that of a folder of results
DIGITS = 8  # of the hash that stands for longer ones
PLAIN = re.compile(r"[\w -]+")
# What the metadata say of where things are, and how they are measured.
PATHS = ("image_root", "json_file", "tags", "cues", "weak_maps", "evaluator_type")


def register_subset(name: str, classes: Sequence[str]) -> str:
    """Register the images of a data set that show any of ``classes``, these in their order, and
    give back the name of that set, such as ``voc_2012_seg_val@cat+dog``.

    All other classes are background there: in tags, points and cues, true objects, true class maps
    and the weak maps that the data set is registered with, which all still have the numbers of
    the whole set. No file is opened. Without classes, of a set that is not registered, and of the
    name of such a subset, the name comes back as it is.

    Raises:
        InputError: ``classes`` are no different names; a name that is no class of the data set
            (if its classes are not known yet, when it is first used).
    """
    if any(not isinstance(c, str) for c in classes) or len(set(classes)) < len(classes):
        raise InputError(f"DATASETS.SUBSET is {list(classes)!r}, expected different class names")
    suffix = "@" + "+".join(classes)
    if len(suffix) > LONGEST or not all(map(PLAIN.fullmatch, classes)):
        suffix = f"@{len(classes)}-{hash_of_content(list(classes))[:DIGITS]}"
    whole = name.removesuffix(suffix)
    if not classes or whole not in DatasetCatalog:
        return name
    subset = whole + suffix
    if subset not in DatasetCatalog:
        if MetadataCatalog.get(whole).get("thing_classes"):
            _take_over_classes(subset, whole, classes)
        _take_over_paths(subset, whole)
        DatasetCatalog.register(subset, partial(_load, subset, whole, classes))
    return subset


def _take_over_paths(subset: str, whole: str) -> None:
    known = MetadataCatalog.get(whole).as_dict()
    MetadataCatalog.get(subset).set(**{key: known[key] for key in PATHS if key in known})


def _take_over_classes(subset: str, whole: str, classes: Sequence[str]) -> KeptClasses:
    known = MetadataCatalog.get(whole)
    kept = KeptClasses.choose(classes, known.thing_classes, whole)
    metadata = MetadataCatalog.get(subset)
    if ids := known.get("thing_dataset_id_to_contiguous_id"):
        numbers = {value: int(kept.numbers[class_id]) for value, class_id in ids.items()}
        numbers = {value: number for value, number in numbers.items() if number != NOWHERE}
        metadata.thing_dataset_id_to_contiguous_id = numbers
    metadata.set(thing_classes=list(classes), **({KEPT: kept} if kept.names != kept.whole else {}))
    return kept


def _load(subset: str, whole: str, classes: Sequence[str]) -> list[dict]:
    """The records of the whole set that show a class that counts; completes the metadata."""
    records = registered_records(whole)  # completes the metadata of some sets
    kept = _take_over_classes(subset, whole, classes)
    _take_over_paths(subset, whole)
    found = []
    for record in records:
        changed = dict(record)
        if "annotations" in record:
            changed["annotations"] = kept.objects(record["annotations"])
        if "image_classes" in record:  # Detectron2's own sets have none
            changed["image_classes"] = kept.tags(record["image_classes"])
        if changed.get("image_classes", changed.get("annotations")):
            found.append(changed)
    if not found:
        raise InputError(
            f"DATASETS.SUBSET: none of the {len(records)} images of {whole!r} shows any of "
            f"{', '.join(classes)}"
        )
    left_out = len(records) - len(found)
    line = (
        f"{subset}: {left_out} of {len(records)} images show none of its classes and are left out"
    )
    keep_remarks(subset, [*remarks_of(whole), *([line] if left_out else [])])
    if isinstance(records, RecordsWithTruth):
        truth = records.truth.objects
        objects = {r["image_id"]: kept.objects(truth[r["image_id"]]) for r in found}
        return RecordsWithTruth(found, replace(records.truth, objects=objects))
    return found
