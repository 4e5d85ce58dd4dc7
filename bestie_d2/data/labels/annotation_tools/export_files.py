"""The files of an export, opened with care: they come from elsewhere.

A document type in an XML is refused, and with it all entities; files of an archive are read one by
one into memory, up to a size, and never unpacked, so that their names lead nowhere.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from bestie_d2.data.labels.annotation_tools.exports import Document
from bestie_d2.data.labels.coco_json import parse_json
from bestie_d2.data.labels.table_rows import is_table, read_rows
from bestie_d2.data.names import portable
from bestie_d2.errors import InputError

SUFFIXES = (".json", ".geojson", ".csv", ".tsv", ".tab", ".xml", ".roi")  # looked for in folders
ARCHIVE = ".zip"
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
ASCII = b"\x7f"  # the last sign
LARGEST = 1 << 30  # bytes of a file in an archive, and of all of them that are read


def documents_of(path: str) -> list[Document]:
    """The documents of a file, an archive or a folder, in the order of their names; none where a
    folder holds none.

    Raises:
        InputError: a file is missing, cannot be read, or is not what its suffix says.
    """
    file = Path(path)
    if file.is_dir():
        return [document for p in files_below(file) for document in documents_of(str(p))]
    suffix = file.suffix.lower()
    if suffix in SPREADSHEETS:
        raise InputError(f"{path}: a spreadsheet; save it as CSV")
    if suffix == ARCHIVE:
        return list(_of_archive(path))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return [Document(path, file.name, parse(path, data))]


def files_below(folder: Path) -> list[Path]:
    """The files of a folder and its sub-folders that may be of an export, in order."""
    return sorted(p for p in folder.rglob("*") if _is_read(p.relative_to(folder).as_posix()))


def parse(path: str, data: bytes) -> Any:
    """The content of a file of the suffix of ``path``."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".xml":
        return _xml(path, data)
    if suffix == ".roi":
        return data
    if is_table(path):
        return read_rows(path, data)
    return parse_json(path, data)


def _is_read(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any((p.startswith(".") and p != "..") or p == "__MACOSX" for p in parts)
    return not hidden and name.lower().endswith((*SUFFIXES, ARCHIVE))


def _of_archive(path: str) -> Iterator[Document]:
    left = LARGEST
    try:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                name = portable(info.filename)
                if info.is_dir() or not _is_read(name) or name.lower().endswith(ARCHIVE):
                    continue
                with archive.open(info) as file:
                    data = file.read(left + 1)  # the size that the archive states may be wrong
                left -= len(data)
                if left < 0:
                    raise InputError(f"{path}: more than {LARGEST >> 20} MiB to read; unpack it")
                where = f"{path}/{name}"
                yield Document(where, PurePosixPath(name).name, parse(where, data), Path(path).name)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a ZIP archive that can be read ({error})") from None


def _xml(path: str, data: bytes) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise InputError(f"{path}: has a document type (<!DOCTYPE ...>), which nothing here needs")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, AssertionError, ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        place = parser.ErrorByteIndex
        hint = "; save it as UTF-8" * (data[place : place + 1] > ASCII)
        raise InputError(f"{path}: not an XML file ({error}){hint}") from None
