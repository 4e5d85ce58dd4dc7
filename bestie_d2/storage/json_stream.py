"""JSON files that are written entry by entry: no more than one entry is in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TextIO


def write_object(file: TextIO, members: Mapping[str, Mapping | Iterable[Mapping]]) -> None:
    """Write a JSON object, its lists with an entry a line.

    Text is in ASCII with escapes: pycocotools and others open files in the machine's own encoding.

    Args:
        members: by name, an object or the entries of a list, which are asked for one by one.
    """
    separator = "{"
    for name, value in members.items():
        file.write(f"{separator}{json.dumps(name)}: ")
        if isinstance(value, Mapping):
            file.write(json.dumps(value))
        else:
            _write_list(file, value)
        separator = ",\n"
    file.write("}\n")


def _write_list(file: TextIO, entries: Iterable[Mapping]) -> None:
    separator = "[\n"
    for entry in entries:
        file.write(separator + json.dumps(entry))
        separator = ",\n"
    file.write("\n]" if separator != "[\n" else "[]")
