"""Names of images: which weak labels are an image's, and files that another system named.

Weak labels belong to an image by its *label name*: its stem, the file name without folder and
suffix, where all stems of the set differ, else the path below the image folder without suffix.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import unquote

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".tga"),
)
LABEL_NAME = "label_name"  # of a record: where it is not the stem
MIRRORED_NAME = "mirrored_name"  # of a record in a sub-folder: its path below the image folder
LISTED_FOLDERS = 256  # whose content is kept


def portable(name: str) -> str:
    """A name in one form, to compare with: composed letters, ``/`` between folders, no ``./``."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.replace("\\", "/").removeprefix("./")


def without_suffix(name: str) -> str:
    """The path of an image below the image folder, portable, without suffix.

    What leads out of the folder is left out, lest an image is taken for its own weak map.
    """
    folder, _, last = portable(name).rstrip("/").rpartition("/")
    folders = [part for part in folder.split("/") if part not in ("", ".", "..")]
    return "/".join([*folders, _stem(last)])


def stem_of(name: str) -> str:
    """The last part of a name, without suffix, whichever system wrote it."""
    return _stem(portable(name).rstrip("/").rpartition("/")[2])


def _stem(last: str) -> str:
    """A name without suffix, by pathlib's rule; that itself is slow for 100,000 of them."""
    dot = last.rfind(".")
    return last[:dot] if 0 < dot < len(last) - 1 else last


def label_names(names: Sequence[str]) -> list[str]:
    """The label name of each image of a set, in order.

    Args:
        names: of the files, below one folder.
    """
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
    for record, name, label_name in zip(records, names, label_names(names), strict=True):
        stem, mirrored = stem_of(name), without_suffix(name)
        if label_name != stem:
            record[LABEL_NAME] = label_name
        elif mirrored != stem:
            record[MIRRORED_NAME] = mirrored


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
    """Where a weak label of an image is: in a sub-folder like the image's own, or in the folder.

    A path that is not there is the one where the label is expected.
    """
    expected = label_name(record)
    for name in (record.get(MIRRORED_NAME), expected):
        found = name and located(folder, name + suffix)
        if found:
            return found
    return os.path.join(folder, expected + suffix)


class LabelNames:
    """Finds the images of a set that a file of weak labels speaks of."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """
        Args:
            pairs: path below the image folder without suffix, and label name of each image.
        """
        self._by_path = dict(pairs)
        stems = Counter(map(stem_in, self._by_path))
        self._by_stem = {
            stem_in(path): name for path, name in self._by_path.items() if stems[stem_in(path)] == 1
        }

    @staticmethod
    def of_records(records: Iterable[Mapping]) -> LabelNames:
        return LabelNames((path_name(record), label_name(record)) for record in records)

    @staticmethod
    def of_files(names: Sequence[str]) -> LabelNames:
        """The images are those that the file itself names."""
        return LabelNames(zip(map(without_suffix, names), label_names(names), strict=True))

    def match(self, names: Sequence[str]) -> tuple[list[str | None], str | None]:
        """The label name of the image that each name means: the one of the same path, else the
        only one of the same stem; None for images of other sets.

        Args:
            names: paths without suffix.

        Returns:
            The label names, and one that two names mean, if there is such.
        """
        exact = [self._by_path.get(name) for name in names]
        taken = {found for found in exact if found is not None}
        matched = []
        for name, found in zip(names, exact, strict=True):
            if found is None:
                found = self._by_stem.get(stem_in(name))
                found = None if found in taken else found
            matched.append(found)
        counts = Counter(found for found in matched if found is not None)
        twice = next((found for found, count in counts.items() if count > 1), None)
        return matched, twice

    def without(self, matched: Iterable[str | None]) -> list[str]:
        """The label names of images that are not among the matched ones."""
        there = set(matched)
        return [name for name in self._by_path.values() if name not in there]


def stem_in(path: str) -> str:
    """The last part of a portable path that has no suffix any more."""
    return path.rpartition("/")[2]


# -- files


def located(folder: str, name: str) -> str | None:
    """The path of a file below a folder; None if it is not there.

    A name that is not there as it is written is looked for with ``/`` in place of backslashes, and
    with letters composed in the other way (NFC, NFD).
    """
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return path
    if name.isascii() and "\\" not in name:
        return None  # it is written in one way only
    return _walk(folder, portable(name), portable)


def missing(what: str, path: str) -> str:
    """The line that a file is not there, with a hint at one of nearly the same name."""
    line = f"{what} {path}: no such file"
    folder, rest = _existing_part(path)
    for key, how in (
        (_caseless, "differs in upper and lower case alone"),
        (_bare, "differs in blanks or in %20 and the like alone"),
        (_caseless_stem, "has another suffix"),
    ):
        found = _walk(folder, rest, key)
        if found:
            return f"{line}; there is {found}, whose name {how}"
    if "\\" in path:
        return f"{line}; its name holds backslashes: write / between folders"
    return line


def _caseless(name: str) -> str:
    return portable(name).casefold()


def _bare(name: str) -> str:
    return "".join(portable(unquote(name)).split())


def _caseless_stem(name: str) -> str:
    return _caseless(stem_of(name))


def _existing_part(path: str) -> tuple[str, str]:
    """The folders of a path that are there, and the rest of it."""
    folder, parts = str(path).replace("\\", "/"), []
    while folder and not os.path.isdir(folder):
        head, _, tail = folder.rpartition("/")
        parts.insert(0, tail)
        folder = head or ("/" if folder.startswith("/") else "")
    return folder or ".", "/".join(parts)


def _walk(folder: str, name: str, key: Callable[[str], str]) -> str | None:
    """The only path below a folder whose parts have the same keys as those of a name."""
    path, parts = folder, PurePosixPath(name).parts
    for number, part in enumerate(parts, start=1):
        if os.path.exists(os.path.join(path, part)):
            path = os.path.join(path, part)
            continue
        if key is _caseless_stem and number < len(parts):  # folders have no suffix
            found = _names_in(path, _caseless).get(_caseless(part), ())
        else:
            found = _names_in(path, key).get(key(part), ())
        if len(found) != 1:
            return None
        path = os.path.join(path, found[0])
    return path if parts else None


def _names_in(folder: str, key: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
    """The names in a folder by key; none where there is no such folder."""
    try:
        changed = os.stat(folder).st_mtime_ns
    except OSError:
        return {}
    return _listed(folder, changed, key)


@lru_cache(maxsize=LISTED_FOLDERS)
def _listed(folder: str, changed: int, key: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
    """:func:`_names_in`, listed once for many files that are missing.

    Args:
        changed: when the folder was last changed; an older listing is not taken.
    """
    by_key: dict[str, list[str]] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    for name in names:
        by_key.setdefault(key(name), []).append(name)
    return by_key
