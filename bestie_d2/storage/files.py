"""Files that are there whole or not at all, and hashes that tell their contents apart."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bestie_d2.errors import InputError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # these name no file where they come while one is written
OF_VIEWERS = {"Thumbs.db", "desktop.ini"}  # not hidden; looking at a folder leaves them there


def make_folder(folder: str | os.PathLike, key: str) -> None:
    """Make an output folder, which the option or configuration key ``key`` names, if need be."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise InputError(f"{key} {folder}: cannot be made a folder ({error.strerror})") from None


def read_json(path: str | os.PathLike) -> Any:
    """What a JSON file of ours holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or is nested without end.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None


@contextmanager
def replacing(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write, text ("w") or binary ("wb"), that takes the place of ``path`` at the end;
    where it cannot be written, as on a full disk, ``path`` stays as it was."""
    path = Path(path)
    scratch = path.with_name(f".{path.name}.scratch")
    with _writing(path, scratch):
        try:
            with open(scratch, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A scratch folder inside ``output``; what is in it at the end takes its place in ``output``.

    Files replace those of the same name, each in one step; a folder that is there already is
    merged with. After an error or Ctrl-C in the block nothing of it is left.
    """
    with _writing(output):
        output.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".preparing-", dir=output)
    with folder as name, _writing(output, Path(name)):
        yield Path(name)
        _move_into(Path(name), output)


@contextmanager
def _writing(output: Path, scratch: Path | None = None) -> Iterator[None]:
    """Tell in one line what fails as ``output`` is written, in ``scratch`` if there is one, but not
    what the block fails to read."""
    try:
        yield
    except OSError as error:
        file = error.filename
        if file is None and error.errno not in DISK_FULL:
            raise
        if file is not None and scratch and not Path(str(file)).is_relative_to(scratch):
            raise
        raise InputError(f"{output}: cannot be written ({error.strerror or error})") from None


def _move_into(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move_into(entry, place)
        else:
            os.replace(entry, place)


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Write a JSON object, with sorted keys, that takes the place of ``path`` whole."""
    with replacing(path) as file:
        json.dump(content, file, indent=1, sort_keys=True)


def write_json_lists(
    path: str | os.PathLike, members: Mapping[str, Mapping | Iterable[Mapping]]
) -> None:
    """The same for one with lists, an entry a line; no more than one entry is in memory.

    Text is in ASCII with escapes: pycocotools and others open files in the machine's own encoding.
    """
    with replacing(path) as file:
        before = "{"
        for name, value in members.items():
            file.write(f"{before}{json.dumps(name)}: ")
            before = ",\n"
            if isinstance(value, Mapping):
                file.write(json.dumps(value))
                continue
            between = "[\n"
            for entry in value:
                file.write(between + json.dumps(entry))
                between = ",\n"
            file.write("[]" if between == "[\n" else "\n]")
        file.write("}\n")


def hash_of_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_content(name: str) -> bool:
    """Whether a file or folder of this name counts in what is in the folder around it: not one that
    is hidden or that viewers leave there."""
    return not name.startswith(".") and name not in OF_VIEWERS


def hash_of_folder(path: str | os.PathLike) -> str:
    """SHA-256 of the names and contents of the files in and below a folder, but for those that do
    not count (:func:`is_content`); of a file's content where ``path`` is one."""
    if not os.path.isdir(path):
        return hash_of_file(path)
    digest = hashlib.sha256()
    for name in sorted(filter(is_content, os.listdir(path))):
        digest.update(f"{name}\0{hash_of_folder(os.path.join(path, name))}\n".encode())
    return digest.hexdigest()


def hash_of_content(content: object) -> str:
    """SHA-256 of a JSON value; what is none counts as its text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
