"""Names of images: which weak labels are an image's, and files that another system named.

Weak labels belong to an image by its *label name*: its stem, the file name without folder and
suffix, where all stems of the set differ, else its *path name*, the path below the image folder
without suffix.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import unquote

from bestie_d2.errors import InputError

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".tga"),
)
LABEL_NAME = "label_name"  # of a record: where it is not the stem
MIRRORED_NAME = (
    "mirrored_name"  # of a record in a sub-folder whose label name is the stem: its path
)

Known = TypeVar("Known")


def portable(name: str) -> str:
    """A name in one form, to compare with: composed letters, ``/`` between folders, no ``./``."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.replace("\\", "/").removeprefix("./")


def without_suffix(name: str) -> str:
    """The path of an image below the image folder, portable, without suffix.

    What leads out of the folder is left out, lest an image is taken for its weak map.
    """
    folder = portable(name).rstrip("/").rpartition("/")[0]
    folders = [part for part in folder.split("/") if part not in ("", ".", "..")]
    return "/".join([*folders, stem_of(name)])


def stem_of(name: str) -> str:
    """The last part of a name, without suffix, whichever system wrote it."""
    last = portable(name).rstrip("/").rpartition("/")[2]
    dot = last.rfind(".")  # pathlib's rule, which itself is slow for 100,000 names
    return last[:dot] if 0 < dot < len(last) - 1 else last


def label_names(names: Sequence[str]) -> list[str]:
    """The label name of each image of a set, by the names of the files below one folder."""
    stems = [stem_of(name) for name in names]
    if len(set(stems)) == len(stems):
        return stems
    return [without_suffix(name) for name in names]


def name_records(records: Sequence[dict]) -> None:
    """Put the names that weak labels go by into records, where they are not the stem.

    Args:
        records: their ``file_name`` is still relative to the image folder.
    """
    names = [record["file_name"] for record in records]
    for record, name, found in zip(records, names, label_names(names), strict=True):
        path = without_suffix(name)
        if path != stem_of(name):
            record[LABEL_NAME if found == path else MIRRORED_NAME] = path


def label_name(record: Mapping) -> str:
    """What an image's weak labels are called, without their suffix; it may hold sub-folders."""
    return record.get(LABEL_NAME) or stem_of(record["file_name"])


def path_name(record: Mapping) -> str:
    """The path of an image below the image folder, without suffix."""
    return record.get(MIRRORED_NAME) or label_name(record)


def relative_name(record: Mapping) -> str:
    """The path of an image below the image folder."""
    return path_name(record) + PurePosixPath(portable(record["file_name"])).suffix


def label_path(folder: str, record: Mapping, suffix: str) -> str:
    """Where a weak label of an image is: in a sub-folder like the image's, or in the folder.

    A path that is not there is the one where the label is expected.
    """
    expected = label_name(record) + suffix
    found = located(folder, path_name(record) + suffix) or located(folder, expected)
    return found or os.path.join(folder, expected)


# -- images that another file speaks of


def names_of_records(records: Iterable[Mapping]) -> dict[str, str]:
    """The label name of each image by its path, for :func:`match_names`."""
    return {path_name(record): label_name(record) for record in records}


def names_of_files(names: Sequence[str]) -> dict[str, str]:
    """:func:`names_of_records` of the images that a file itself names."""
    return dict(zip(map(without_suffix, names), label_names(names), strict=True))


def match_names(names: Sequence[str], known: Mapping[str, Known]) -> list[Known | None]:
    """Which of the known images each name means: the one of the same path, else the only one of
    the same stem, unless another name has its path; None for images of other sets.

    Args:
        names: paths, of :func:`without_suffix`.
        known: what an image is known by, by its path; one may be there by several paths.
    """
    by_stem: dict[str, Known | None] = {}
    for path, image in known.items():
        stem = path.rpartition("/")[2]
        if by_stem.setdefault(stem, image) != image:
            by_stem[stem] = None
    taken = {known[name] for name in names if name in known}
    alone = [by_stem.get(name.rpartition("/")[2]) for name in names]
    return [
        known.get(name, None if image in taken else image)
        for name, image in zip(names, alone, strict=True)
    ]


def match_label_names(
    what: str, files: Sequence[str], known: Mapping[str, str]
) -> list[str | None]:
    """:func:`match_names` of the names of files.

    Raises:
        InputError: two of them mean one image; the line begins with ``what``.
    """
    matched = match_names([without_suffix(file) for file in files], known)
    for name, count in Counter(matched).items():
        if name is not None and count > 1:
            raise InputError(f"{what}: two images are called {name!r}; weak labels go by that name")
    return matched


# -- files


def located(folder: str, name: str) -> str | None:
    """The path of a file below a folder; None if it is not there.

    A name that is not there as it is written is looked for with ``/`` in place of backslashes, and
    with letters composed in the other way (NFC, NFD).
    """
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return path
    written_in_one_way = name.isascii() and "\\" not in name
    return None if written_in_one_way else _walk(folder, portable(name), portable)


def check_inside(source: str, folder: str, names: Iterable[str]) -> None:
    """Refuse names of a file ``source`` that lead out of the image folder, as they are written:
    links that lie in the folder are its owner's."""
    root = os.path.abspath(folder)
    for name in names:
        path = portable(name)
        if os.path.isabs(path) or ".." in path:
            whole = os.path.abspath(os.path.join(root, path))
            if os.path.commonpath([root, whole]) != root:
                raise InputError(
                    f"{source}: image {name} is outside of the image folder {folder}: give a "
                    "folder as 'images' that holds all pictures ('/' allows any)"
                )


def missing(what: str, path: str) -> str:
    """The line that a file is not there, with a hint at one of nearly the same name."""
    line = f"{what} {path}: no such file"
    for key, how in (
        (_caseless, "differs in upper and lower case alone"),
        (_bare, "differs in blanks or in %20 and the like alone"),
        (_caseless_stem, "has another suffix"),
    ):
        found = _walk("", str(path).replace("\\", "/"), key)
        if found:
            return f"{line}; there is {found}, whose name {how}"
    return f"{line}; its name holds backslashes: write / between folders" if "\\" in path else line


def _caseless(name: str) -> str:
    return portable(name).casefold()


def _bare(name: str) -> str:
    return "".join(portable(unquote(name)).split())


def _caseless_stem(name: str) -> str:
    return _caseless(stem_of(name))


def _walk(folder: str, name: str, key: Callable[[str], str]) -> str | None:
    """The only path below a folder whose parts have the same keys as those of a name."""
    path, parts = folder, PurePosixPath(name).parts
    for number, part in enumerate(parts, start=1):
        if not os.path.exists(os.path.join(path, part)):
            last = number == len(parts)
            part_key = _caseless if key is _caseless_stem and not last else key  # no suffix
            try:
                listed = _listed(path or ".", os.stat(path or ".").st_mtime_ns, part_key)
            except OSError:
                return None
            found = listed.get(part_key(part), ())
            if len(found) != 1:
                return None
            part = found[0]
        path = os.path.join(path, part)
    return path if parts else None


@lru_cache(maxsize=256)
def _listed(folder: str, changed: int, key: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
    """The names in a folder by key, listed once for many files that are missing; ``changed`` keeps
    an older listing out."""
    by_key: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        by_key.setdefault(key(name), []).append(name)
    return by_key
