"""Pictures that a user names by files, folders and patterns."""

from __future__ import annotations

import glob
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from bestie_d2.data.names import IMAGE_SUFFIXES, missing
from bestie_d2.errors import InputError

MARK_OF_RESULTS = ".bestie_results"  # a file in a folder that predictions were written into
logger = logging.getLogger(__name__)


def find_pictures(
    inputs: Sequence[str], key: str = "--input", *, output: str = ""
) -> dict[str, str]:
    """The path of each picture by its name: relative to the folder that was named, or to the part
    of a pattern before its first wildcard, with ``/`` between folders; in the order of the names.

    Folders are searched with all that is in them, but for hidden files; a file that is named counts
    whatever its suffix. Where pictures of several inputs have one name, each is put below the name
    of the folder that it was found in. ``key`` is what names the inputs, for messages; what lies in
    a folder below one of them that is ``output`` or has the ``MARK_OF_RESULTS`` are results, and no
    pictures.

    Raises:
        InputError: an input is not there or holds no picture, or names are the same all the same.
    """
    by_root = [pair for entry in inputs for pair in _below(entry, key, output)]
    places = {os.path.abspath(os.path.join(root, name)): (root, name) for root, name in by_root}
    names = [name for _, name in places.values()]
    unique = len(set(names)) == len(names)
    found: dict[str, str] = {}
    for root, name in places.values():
        place = (
            name if unique else str(PurePosixPath(os.path.basename(os.path.abspath(root)), name))
        )
        path = os.path.join(root, name)
        if place in found:
            raise InputError(
                f"{key}: {found[place]} and {path} would both be {place} in the output"
            )
        found[place] = path
    return dict(sorted(found.items()))


def _below(entry: str, key: str, output: str) -> Iterator[tuple[str, str]]:
    """Root and name of each picture that an input means."""
    expanded = os.path.expanduser(entry)
    if os.path.isfile(expanded):
        yield os.path.split(expanded)
        return
    if os.path.isdir(expanded):
        root, paths = expanded, [str(path) for path in Path(expanded).rglob("*")]
    elif glob.has_magic(expanded):
        fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(expanded).parts)
        root, paths = str(Path(*fixed)), glob.glob(expanded, recursive=True)
        if not paths:
            raise InputError(f"{key} {entry}: nothing matches this pattern")
    else:
        raise InputError(missing(key, entry))
    paths = _without_results(root, paths, output)
    names = [PurePosixPath(Path(os.path.relpath(path, root)).as_posix()) for path in paths]
    pictures = [
        str(name)
        for name, path in zip(names, paths, strict=True)
        if name.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in name.parts)
        and os.path.isfile(path)
    ]
    if not pictures:
        known = ", ".join(IMAGE_SUFFIXES)
        raise InputError(f"{key} {entry}: no picture there (known are {known})")
    for name in pictures:
        yield root, name


def _without_results(root: str, paths: Sequence[str], output: str) -> list[str]:
    """The paths but for those in folders of results below the root."""
    above = Path(root).parents
    folders = {folder for path in paths for folder in Path(path).parents}
    below = sorted(folders.difference(above, [Path(root)]))
    marked = {folder for folder in below if (folder / MARK_OF_RESULTS).is_file()}
    place = output and os.path.abspath(output)  # also of one that is named with ".."
    own = {folder for folder in below if os.path.abspath(folder) == place}
    for folder in sorted(marked - own):
        logger.warning("%s: results of an earlier prediction, which are no pictures", folder)
    results = marked | own
    return [path for path in paths if results.isdisjoint(Path(path).parents)]
