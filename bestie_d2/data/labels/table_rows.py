"""The lines of a table (CSV, TSV), whatever parts its columns and however it is encoded."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from bestie_d2.data.names import IMAGE_SUFFIXES
from bestie_d2.errors import InputError, not_parsed

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".exr", ".hdr")
SEPARATORS = (",", ";", "\t")  # of columns
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # by mark
UNSEEN = dict.fromkeys(map(ord, "\ufeff\u200b"))  # marks that nobody sees, at any place
EXCEL_HINT = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)  # a first line: what parts columns


class Row(NamedTuple):
    """A line of a table that is not empty: its number in the file, its cells, and the sign between
    them."""

    number: int
    cells: list[str]
    separator: str

    def __str__(self) -> str:
        return f"line {self.number} ({','.join(self.cells)!r})"


def is_table(path: str) -> bool:
    return str(path).lower().endswith(TABLE_SUFFIXES)


def is_picture(cell: str) -> bool:
    return cell.lower().endswith(PICTURE_SUFFIXES)


def read_rows(path: str, content: bytes | None = None) -> list[Row]:
    """The lines of a table, without empty ones and comments, and without blanks around cells; of
    its ``content``, if that was read before.

    The sign between columns is the one that leaves most lines a cell that names a picture.
    """
    try:
        if content is None:
            with open(path, "rb") as file:
                content = file.read()
        encoding = next((ENCODINGS[m] for m in ENCODINGS if content.startswith(m)), "utf-8")
        text = content.decode(encoding).translate(UNSEEN)
        if "\0" in text:
            raise InputError(f"{path}: not a CSV in UTF-8 (it holds zero bytes); save it as UTF-8")
        hint = EXCEL_HINT.fullmatch(text.splitlines()[0]) if text else None
        if hint:
            rows = _split(text, hint.group(1))[1:]
        else:
            signs = [sign for sign in SEPARATORS if sign in text] or SEPARATORS[:1]
            rows = max((_split(text, sign) for sign in signs), key=_fitness)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise not_parsed(path, "a CSV", error) from None
    for row in rows:  # a quote that is not closed takes in the lines of other pictures
        lines = [line for cell in row.cells for line in cell.split("\n")[1:]]
        if any(is_picture(part.strip()) for line in lines for part in re.split("[,;\t]", line)):
            raise InputError(f"{path}: {row} holds other lines: a quote in it is not closed")
    return rows


def _fitness(rows: Sequence[Row]) -> tuple[int, int]:
    """Lines that name a picture, then those of several columns: without tags a line looks the same
    whatever the sign."""
    pictures = sum(any(map(is_picture, row.cells)) for row in rows)
    return pictures, sum(len(row.cells) > 1 for row in rows)


def _split(text: str, separator: str) -> list[Row]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    rows = []
    for written in reader:
        cells = [cell.strip() for cell in written]
        # Some programs put single quotes around each.
        cells = [c[1:-1].strip() if len(c) > 1 and c[0] == c[-1] == "'" else c for c in cells]
        if any(cells) and not (cells[0].startswith("#") and not any(cells[1:])):
            rows.append(Row(reader.line_num, cells, separator))
    return rows
