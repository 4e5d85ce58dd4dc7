"""Points and tags of images as people have them: this project's JSON, or an export of a tool."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bestie_d2.data.labels.annotation_tools.export_files import documents_of, files_below
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import POINTS, TAGS, only_tags
from bestie_d2.data.labels.annotation_tools.registry import (
    FOLDERS,
    FORMATS,
    Labels,
    labels_of,
    read_export,
)
from bestie_d2.data.labels.annotation_tools.via import VIA
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, regular_lists
from bestie_d2.data.labels.table_rows import is_table
from bestie_d2.data.labels.tag_tables import read_table
from bestie_d2.errors import InputError

OWN_LISTS: dict[str, Mapping[str, Sequence[str]]] = {
    POINTS: {**IMAGE_LISTS, "points": ("image_id", "category_id", "point")},
    TAGS: IMAGE_LISTS,
}
OWN_TITLE = "this project's JSON"
TEXT_FILES = "*.txt"  # of cues, in a folder


def load_labels(
    path: str,
    kind: str = "",
    *,
    pictures: Callable[[], Pictures] | None = None,
    classes: Sequence[str] | None = None,
    wanted: str = "",
) -> tuple[str, Labels | None]:
    """The labels of a file, an archive or a folder, and of which kind they are.

    Args:
        kind: ``POINTS`` or ``TAGS``; what there is if empty, points if there are both.
        pictures: finds those that an export is of; without it only this project's JSON is read.
        classes: all that there are, in order, for :func:`labels_of`; not asked of this project's.
        wanted: the name of the format; found out if empty.

    Returns:
        The kind, and None for the labels where they are a table of tags, which is read by
        :func:`bestie_d2.data.labels.tag_tables.read_table`.
    """
    documents = [] if wanted == FOLDERS else documents_of(path)
    content = documents[0].content if len(documents) == 1 else None
    own = "" if wanted else _own_kind(content, kind)
    if not own and not wanted and is_table(path):
        claims = [known for known in FORMATS.values() if known.claims(documents[0])]
        if kind == POINTS and not claims and _is_tag_table(path, classes):
            raise InputError(
                f"{path}: is a table of tags, and has no columns x and y: take it as tags (--as "
                "tags, or 'tags' of a data set)"
            )
        if kind != POINTS and (not claims or (kind == TAGS and VIA not in claims)):
            return TAGS, None
    if own or pictures is None:
        own = own or kind or TAGS
        return own, Labels(regular_lists(path, content, OWN_LISTS[own]), OWN_TITLE, [])
    export, title = read_export(path, documents, wanted)
    kind = kind or (TAGS if only_tags(export) else POINTS)
    return kind, labels_of(path, export, title, pictures(), kind, classes)


def _own_kind(content: object, kind: str) -> str:
    """The kind that this project's JSON is read as; "" for another file."""
    if not isinstance(content, Mapping) or "images" not in content:
        return ""
    if "points" in content and kind != TAGS:
        return POINTS
    return TAGS if kind == TAGS else ""


def _is_tag_table(path: str, classes: Sequence[str] | None) -> bool:
    with suppress(InputError):
        read_table(path, classes)
        return True
    return False


def is_folder_of_text(path: str) -> bool:
    """Whether a folder holds cues as text rather than an export."""
    if not os.path.isdir(path):
        return False
    return sum(1 for _ in Path(path).rglob(TEXT_FILES)) >= len(files_below(Path(path)))
