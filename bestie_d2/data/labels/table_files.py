"""Tables as files: CSV and TSV, whatever their encoding and the sign between their columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from bestie_d2.data.names import IMAGE_SUFFIXES
from bestie_d2.errors import InputError

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
SEPARATORS = (",", ";", "\t")  # of columns
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# A first line that names the sign between columns.
EXCEL_HINT = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
UNSEEN = dict.fromkeys(map(ord, "\ufeff\u200b"))  # marks that nobody sees, at any place
PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".exr", ".hdr")


class Row(NamedTuple):
    """A line of a table that is not empty: its number in the file, and its cells."""

    number: int
    cells: list[str]

    def cell(self, column: int) -> str:
        """ "" where the line is shorter."""
        return self.cells[column] if column < len(self.cells) else ""

    def __str__(self) -> str:
        return f"line {self.number} ({','.join(self.cells)!r})"


def is_table(path: str) -> bool:
    return str(path).lower().endswith(TABLE_SUFFIXES)


def is_picture(cell: str) -> bool:
    """Whether a cell is the name of a picture: it ends like one."""
    return cell.lower().endswith(PICTURE_SUFFIXES)


def read_rows(path: str) -> list[Row]:
    """The lines of a table, without empty ones and comments, and without blanks around cells.

    The sign between columns is the one that leaves most lines a cell that names a picture.

    Raises:
        InputError: no such file, no text in UTF-8 (or UTF-16 with its mark), or a quote that is
            not closed.
    """
    text = _read_text(path)
    hint = EXCEL_HINT.fullmatch(text.splitlines()[0]) if text else None
    if hint:
        rows = _split(path, text, hint.group(1))[1:]
    else:
        signs = [sign for sign in SEPARATORS if sign in text] or SEPARATORS[:1]
        rows = max((_split(path, text, sign) for sign in signs), key=_fitness)
    for row in rows:
        # A quote that is not closed takes in the lines of other pictures.
        lines = [line for cell in row.cells for line in cell.split("\n")[1:]]
        if any(is_picture(part.strip()) for line in lines for part in re.split("[,;\t]", line)):
            raise InputError(f"{path}: {row} holds other lines: a quote in it is not closed")
    return rows


def _fitness(rows: Sequence[Row]) -> tuple[int, int]:
    """Lines that name a picture, then those of several columns: without tags a line looks the same
    whatever the sign."""
    pictures = sum(any(map(is_picture, row.cells)) for row in rows)
    return pictures, sum(len(row.cells) > 1 for row in rows)


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read()
        encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
        text = content.decode(encoding).translate(UNSEEN)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a CSV in UTF-8 ({error})") from None
    if "\0" in text:
        raise InputError(f"{path}: not a CSV in UTF-8 (it holds zero bytes); save it as UTF-8")
    return text


def _split(path: str, text: str, separator: str) -> list[Row]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    rows = []
    try:
        for cells in reader:
            stripped = [_without_quotes(cell.strip()) for cell in cells]
            comment = stripped and stripped[0].startswith("#") and not any(stripped[1:])
            if any(stripped) and not comment:
                rows.append(Row(reader.line_num, stripped))
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV in UTF-8 ({error})") from None
    return rows


def _without_quotes(cell: str) -> str:
    """A cell without the single quotes that some programs put around each."""
    quoted = len(cell) > 1 and cell[0] == cell[-1] == "'"
    return cell[1:-1].strip() if quoted else cell
