"""Images and classes of two files brought together by their names, whatever their ids."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bestie_d2.data.names import portable, stem_of


def id_key(value: object) -> str:
    """What an id is compared by: 1, 1.0 and "1" are the same."""
    if type(value) is int:  # nearly all
        return str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def match_categories(
    categories: Sequence[Mapping], classes: Sequence[str]
) -> dict[str, int | None]:
    """Contiguous class of each category, None for what is no class; the case of letters decides
    only between names that are else the same."""
    exact = {name: index for index, name in enumerate(classes)}
    folded = [name.strip().casefold() for name in classes]
    found: dict[str, int | None] = {}
    for category in categories:
        name = str(category["name"])
        alike = [i for i, known in enumerate(folded) if known == name.strip().casefold()]
        index = exact.get(name, alike[0] if len(alike) == 1 else None)
        found[id_key(category["id"])] = index
    return found


def match_images(
    images: Sequence[Mapping], records: Sequence[dict], root: str
) -> tuple[dict[str, dict], list[str]]:
    """The record of each image of a file, by the image's ``id_key``.

    By path from the image folder; else by stem, where only one has it; else, among those of the
    stem, by id. By id alone only if not one name is known.

    Args:
        images: entries of a COCO file, with ``id`` and, usually, ``file_name``.
        records: with ``file_name`` and ``image_id``.
        root: the image folder of the records.

    Returns:
        Images without a record are not in it. And lines on these, and on records without an image.
    """
    notes = []
    matched = _by_name(images, records, root)
    if not matched and images and records:
        by_id = {id_key(record["image_id"]): record for record in records}
        ids = [id_key(image["id"]) for image in images]
        matched = {key: by_id[key] for key in ids if key in by_id}
        notes.append("none of its images has the name of one of the set; matched by their ids")
    seen = {id(record) for record in matched.values()}
    missing = [record["file_name"] for record in records if id(record) not in seen]
    if missing:
        notes.append(
            f"{len(missing)} of the set's {counted(len(records), 'image')} are not in it and count "
            f"as without objects, first {missing[0]}"
        )
    if len(matched) < len(images):
        notes.append(
            f"{len(images) - len(matched)} of its {counted(len(images), 'image')} are not in the "
            "set and passed over"
        )
    return matched, notes


def _by_name(images: Sequence[Mapping], records: Sequence[dict], root: str) -> dict[str, dict]:
    by_path = {path: record for record in records for path in _paths_of(record["file_name"], root)}
    paths = {id_key(image["id"]): _path_key(image.get("file_name") or "") for image in images}
    matched = {key: by_path[path] for key, path in paths.items() if path in by_path}
    taken = {id(record) for record in matched.values()}
    free: dict[str, list[dict]] = {}
    for record in records:
        if id(record) not in taken:
            free.setdefault(stem_of(_path_key(record["file_name"])), []).append(record)
    stems = Counter(stem_of(path) for key, path in paths.items() if key not in matched)
    for key, path in paths.items():
        alike = free.get(stem_of(path), []) if key not in matched else []
        if len(alike) != 1 or stems[stem_of(path)] != 1:
            alike = [record for record in alike if id_key(record["image_id"]) == key]
        if alike:
            matched[key] = alike[0]
    return matched


def _paths_of(file_name: str, root: str) -> Iterator[str]:
    yield _path_key(file_name)
    if root:
        yield _path_key(os.path.relpath(file_name, root))


def _path_key(path: str) -> str:
    return posixpath.normpath(portable(path.strip()))


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
