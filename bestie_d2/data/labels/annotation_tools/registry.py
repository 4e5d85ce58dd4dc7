"""All formats that are read, and which of them an export is in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bestie_d2.data.labels.annotation_tools.class_folders import read_folders
from bestie_d2.data.labels.annotation_tools.coco_points import COCO
from bestie_d2.data.labels.annotation_tools.cvat import CVAT
from bestie_d2.data.labels.annotation_tools.export_files import documents_of
from bestie_d2.data.labels.annotation_tools.exports import Document, Export, Format
from bestie_d2.data.labels.annotation_tools.fiftyone import FIFTYONE
from bestie_d2.data.labels.annotation_tools.imagej import IMAGEJ
from bestie_d2.data.labels.annotation_tools.label_studio import LABEL_STUDIO
from bestie_d2.data.labels.annotation_tools.labelme import LABELME
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import lists_of
from bestie_d2.data.labels.annotation_tools.point_tables import NAPARI, TABLES
from bestie_d2.data.labels.annotation_tools.qupath import QUPATH
from bestie_d2.data.labels.annotation_tools.via import VIA
from bestie_d2.errors import InputError, check_choice

FORMATS = {  # a document is in the first that claims it
    known.name: known
    for known in (
        *(LABEL_STUDIO, CVAT, LABELME, COCO, VIA, QUPATH, IMAGEJ, FIFTYONE, NAPARI, *TABLES),
    )
}
FOLDERS = "class-folders"
FORMAT_NAMES = (*FORMATS, FOLDERS)


@dataclass(frozen=True)
class Labels:
    """This project's lists (``images``, ``categories`` and ``points`` or ``annotations``), in what
    format they were, and what is to be told of them."""

    lists: dict[str, list[dict[str, Any]]]
    title: str
    remarks: list[str]


def detect(document: Document) -> Format | None:
    """The format of a document, by its content; None if it is in none."""
    return next((known for known in FORMATS.values() if known.claims(document)), None)


def read_export(
    path: str, documents: Sequence[Document] | None = None, wanted: str = ""
) -> tuple[Export, str]:
    """An export, and what people call its format.

    Args:
        path: a file, an archive or a folder, for messages if ``documents`` are given.
        wanted: the name of its format; found out if empty.
    """
    export = Export()
    if wanted:
        check_choice("--from", wanted, FORMAT_NAMES)
    if wanted != FOLDERS and documents is None:
        documents = documents_of(path)
    if wanted == FOLDERS or (not documents and os.path.isdir(path)):
        if not os.path.isdir(path):
            raise InputError(f"{path}: no such folder")
        read_folders(path, export)
        return export, "folders of classes"
    formats = [FORMATS[wanted] if wanted else detect(document) for document in documents or ()]
    counts = Counter(known for known in formats if known)
    if not counts:
        if all(document.content in ([], {}) for document in documents or ()):
            raise InputError(f"{path}: holds no export, or an empty one: nothing in it is labeled")
        raise InputError(
            f"{path}: in no format that is known ({', '.join(FORMAT_NAMES)}; --from names one)"
        )
    most = counts.most_common(1)[0][0]
    for document, known in zip(documents or (), formats, strict=True):
        if known is not most:
            export.leave_out(f"files that are not {most.title}")
        elif wanted and not most.claims(document):
            raise InputError(f"{document.path}: is not {most.title}")
        else:
            most.read(document, export)
    return export, most.title


def labels_of(
    path: str,
    export: Export,
    title: str,
    pictures: Pictures,
    kind: str,
    classes: Sequence[str] | None = None,
) -> Labels:
    """An export as this project's lists; see :func:`bestie_d2.data.labels.annotation_tools.placing.
    lists_of`."""
    lists = lists_of(path, export, pictures, kind, classes)
    return Labels(lists, title, [f"read as {title}", *export.remarks, *export.left_lines()])
