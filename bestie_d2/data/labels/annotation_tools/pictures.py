"""The pictures that labels are for: found by the names that exports give them, with their sizes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bestie_d2.data.images import Size, image_orientation, image_size
from bestie_d2.data.names import IMAGE_SUFFIXES, match_names, relative_name, stem_of, without_suffix
from bestie_d2.data.picture_files import find_pictures
from bestie_d2.errors import InputError

UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio puts it before an uploaded file's name
UNSAFE = re.compile(r"[^-\w.]")  # in a name that a Django server (Label Studio, CVAT) stores


@dataclass(frozen=True)
class Pictures:
    """Pictures by their path below a folder; ``folder`` is for messages."""

    folder: str
    paths: Mapping[str, str]

    @classmethod
    def of_folder(cls, folder: str, key: str = "images") -> Pictures:
        """All below a folder, which ``key`` names.

        Raises:
            InputError: there is none, or two differ by suffix alone.
        """
        if not os.path.isdir(folder):
            raise InputError(f"{key} {folder}: no such folder")
        found, first = find_pictures([folder], key), dict[str, str]()
        for name in found:
            other = first.setdefault(without_suffix(name), name)
            if other != name:
                raise InputError(f"{folder}: {other} and {name} differ by suffix alone; rename one")
        return cls(folder, found)

    @classmethod
    def of_records(cls, records: Iterable[Mapping]) -> Pictures:
        """Those of a data set's records."""
        return cls("the data set", {relative_name(r): r["file_name"] for r in records})

    def match(self, wanted: Sequence[Sequence[str]]) -> list[str | None]:
        """The picture that each image of an export is, by the first of its names that means one
        (:func:`bestie_d2.data.names.match_names`; the folders of other machines in front are passed
        over), or that does as servers spell it (Label Studio's digits in front, blanks as "_");
        None if none does."""
        known = dict(zip(map(without_suffix, self.paths), self.paths, strict=True))
        stored = Counter(map(_as_stored, known))
        as_stored = {s: known[path] for path in known if stored[s := _as_stored(path)] == 1}
        paths = [[*dict.fromkeys(path for n in names for path in _readings(n))] for names in wanted]
        found: list[str | None] = [None] * len(wanted)
        spellings = (
            *((known, str), (known, _without_digits)),
            *((as_stored, _as_stored), (as_stored, lambda path: _as_stored(_without_digits(path)))),
        )
        for by_path, spell in spellings:
            for rank in range(max(map(len, paths), default=0)):
                open_ = [i for i, names in enumerate(paths) if not found[i] and rank < len(names)]
                tails = [_tail(spell(paths[i][rank]), by_path) for i in open_]
                for i, picture in zip(open_, match_names(tails, by_path), strict=True):
                    found[i] = picture
        return found

    def called(self, name: str) -> list[str]:
        """The pictures of a name's stem, in whichever folders."""
        stems = {spell(stem_of(name)) for spell in (str, _without_digits)}
        return [picture for picture in self.paths if stem_of(picture) in stems]

    def size(self, picture: str) -> Size:
        """(height, width) of a picture, turned as its EXIF entry says."""
        return image_size(self.paths[picture])

    def orientation(self, picture: str) -> int:
        return image_orientation(self.paths[picture])


def _readings(name: str) -> list[str]:
    """A name as a path without suffix; first with what may only look like one, as in "x 2.5um"."""
    whole = [] if name.lower().endswith(IMAGE_SUFFIXES) else [without_suffix(f"{name}.x")]
    return [*whole, without_suffix(name)]


def _tail(name: str, known: Mapping[str, str]) -> str:
    """The longest end of a path that is known; all of it if there is none."""
    tail = name
    while tail not in known and "/" in tail:
        tail = tail.partition("/")[2]
    return tail if tail in known else name


def _without_digits(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + UPLOADED.sub("", name, count=1)


def _as_stored(path: str) -> str:
    return "/".join(UNSAFE.sub("", part.strip().replace(" ", "_")) for part in path.split("/"))
