"""Tables of image tags (CSV, TSV): the columns that are meant, and the tags in them.

A table is read as it is meant, or refused with a line that says what was found; never guessed.
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from bestie_d2.data.labels.table_rows import Row, is_picture, read_rows
from bestie_d2.data.names import portable
from bestie_d2.errors import InputError

EXPECTED = "expected 'file_name,tag;tag' a line"
TAG_SEPARATORS = (";", "|", ",", "\n")  # the last one in a cell in quotes
WHOLE = "\0"  # the sign that is in no cell
PARTS = re.compile(r"\s*[/+&:\s]\s*")  # between tags, perhaps, or in the name of a class
BRACKETS = ("[]", "()", "{}")
# Headings, in small letters without blanks, "_" and "-".
FILE_HEADINGS = {
    *("filename", "file", "files", "filepath", "path", "filenames", "fname"),
    *("image", "images", "img", "imagename", "imagefile", "imagepath", "imagefilename", "imgname"),
    *("picture", "photo", "name", "imageid", "imgid", "id", "uri", "url"),
}
TAG_HEADING = re.compile(
    r"(image|class)?(tag|label|class|classe|category|categorie|name|object|species)(e?s)?[0-9]*"
    r"|(class|label|category)(name|id|label)s?|annotations?|y|target|multilabels?"
)
INDEX_HEADINGS = {"", "id", "idx", "index", "nr", "no", "#", "num", "number", "row", "rowid"}
NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+")
YES = {"1", "1.0", "true", "yes", "y", "t", "x"}
NO = {"0", "0.0", "false", "no", "n", "f", ""}
# What programs write where there is no tag.
NO_TAG = {"none", "nan", "null", "nil", "n/a", "na", "<na>", "-", "background", "_background_"}


class Column(NamedTuple):
    """What a column holds, "" where a line is shorter; its heading is "" if there is none."""

    heading: str
    values: list[str]

    @property
    def says_tags(self) -> bool:
        return bool(TAG_HEADING.fullmatch(_plain(self.heading)))

    @property
    def counts_lines(self) -> bool:
        name = _plain(self.heading)
        numbers = len({*self.values}) == len(self.values) and all(map(str.isdecimal, self.values))
        return numbers and (name in INDEX_HEADINGS or name.startswith("unnamed"))


def read_table(
    path: str, classes: Sequence[str] | None = None
) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Read a table of images and tags.

    Columns are parted by commas, semicolons or tabs; blanks around cells and tags, empty lines and
    a byte order mark are passed over. Tags stand in one column, parted by ``;``, ``|`` or commas,
    or in several; or each class has a column (one-hot: 1/0, true/false, yes/no). An image may be
    on several lines. The first line may be a heading or an image.

    Args:
        classes: names that tags are spelled by, whatever their letter case.

    Returns:
        The tags of each image by file name, in the order of the table; all classes in contiguous
        order (of the alphabet or, if all are numbers, as they count); lines on what was read in
        another way than is usual.
    """
    table = _Table(path, classes or ())
    one_hot = table.is_one_hot()
    parted = table.by_heading() if one_hot else table.by_separator()
    spelled = table.spelled(parted, one_hot)
    tags: dict[str, list[str]] = {}
    written: dict[str, str] = {}  # how each image is called where it is named first
    for name, *cells in table.lines():
        words = [word for cell in cells for word in parted.get(cell, ())]
        known = tags.setdefault(written.setdefault(portable(name), name), [])
        known += [spelled[word] for word in words if word in spelled]
    again = len(table.rows) - len(tags)
    if again:
        table.tell(f"lines that name an image again: {again}; their tags are put together")
    names = sorted({*spelled.values()})
    if all(name.isascii() and name.isdecimal() for name in names):
        names.sort(key=int)
    return tags, list(classes or names), table.remarks


class _Table:
    """A file's ``rows`` with, of each, the image's name and the cells of the columns of tags."""

    def __init__(self, path: str, known: Sequence[str]) -> None:
        self.path, self.known = path, known  # names of classes, if they are given
        self.folded = {name.casefold() for name in known}
        self.remarks: list[str] = []
        self.heading, self.rows = self._part_heading(read_rows(path))
        cells = [self.heading.cells if self.heading else [], *(row.cells for row in self.rows)]
        columns = [
            Column(heading, values) for heading, *values in zip_longest(*cells, fillvalue="")
        ]
        if not columns:
            raise self._error(f"no image in it; {EXPECTED}")
        if len(columns) == 1:
            raise self._error(f"{[*self.rows, self.heading][0]} has one column; {EXPECTED}")
        ranks = [
            (sum(map(is_picture, column.values)), _plain(column.heading) in FILE_HEADINGS)
            for column in columns
        ]
        self.names = columns.pop(ranks.index(max(ranks))).values
        self.columns = [c for c in columns if not (self.heading and c.counts_lines)]
        for row, name in zip(self.rows, self.names, strict=True):
            if not name:
                raise self._error(f"{row} names no image; {EXPECTED}")
            if max(ranks)[0] and not is_picture(name) and _plain(name) in FILE_HEADINGS:
                raise self._error(f"{row} is a heading, and not the first line; {EXPECTED}")

    def _error(self, line: str) -> InputError:
        return InputError(f"{self.path}: {line}")

    def tell(self, line: str) -> None:
        self.remarks.append(f"{self.path}: {line}")

    def lines(self) -> Iterable[tuple[str, ...]]:
        """Of each row the image's name and the cells of tags."""
        return zip(self.names, *(column.values for column in self.columns), strict=True)

    def _part_heading(self, rows: list[Row]) -> tuple[Row | None, list[Row]]:
        """The line of headings, if the first one is none of an image, and the other lines."""
        if not rows or any(map(is_picture, rows[0].cells)):
            return None, rows
        first = rows[0]
        rest = [row for row in rows[1:] if row.cells != first.cells]  # of tables put together
        if any(_plain(cell) in FILE_HEADINGS for cell in first.cells):
            return first, rest
        if not any(is_picture(cell) for row in rest for cell in row.cells):
            return None, rows  # names without suffix
        below = {cell.casefold() for row in rest for cell in row.cells if cell}
        if any(cell.casefold() in below for cell in first.cells):
            raise self._error(
                f"{first} can be a heading or an image without suffix; {EXPECTED}, and a heading "
                "such as 'file_name,tags'"
            )
        return first, rest

    # One column for each class.

    def is_one_hot(self) -> bool:
        values = {v.casefold() for column in self.columns for v in column.values} - {""}
        if self.heading is None or not values or not values <= YES | NO:
            return False
        first, are_classes = self.columns[0], values <= self.folded
        if len(self.columns) > 1 or not first.says_tags:
            return True
        if are_classes or first.heading in self.known:
            return not are_classes
        raise self._error(
            f"column {first.heading!r} holds {_listed(values)} alone: name it after its class if "
            "it says whether an image has it (one-hot), or give 'classes' if there are classes of "
            "these names"
        )

    def by_heading(self) -> dict[str, list[str]]:
        """Columns of the classes' names in place of 1 and 0; the tags in each of their cells."""
        headings = [column.heading for column in self.columns]
        if not all(headings):
            raise self._error("a column of 0 and 1 has no heading, its class's name")
        self.columns = [
            Column(heading, [heading * (value.casefold() in YES) for value in values])
            for heading, values in self.columns
        ]
        return {heading: [heading] for heading in headings}

    # Tags as words.

    def by_separator(self) -> dict[str, list[str]]:
        """The tags in each cell."""
        if len(self.columns) > 1 and self.heading:
            self._choose_columns()
        self._refuse_numbers()
        self._refuse_json()
        inner = {cell: _unwrapped(cell) for _, *cells in self.lines() for cell in cells}
        separator = self._tag_separator(list(inner.values()))
        if separator == ",":
            self.tell("a comma in a cell parts two tags")
        parted = {}
        for cell, inside in inner.items():
            words = (word.strip().strip("'\"").strip() for word in inside.split(separator))
            parted[cell] = [word for word in words if word]
        return parted

    def _choose_columns(self) -> None:
        """Keep the columns whose headings speak of tags, or that have none."""
        if not any(column.says_tags for column in self.columns):
            raise self._error(
                f"of the columns {', '.join(repr(c.heading) for c in self.columns)} none is called "
                "'tags', and not all hold 0 and 1 alone (as one-hot columns do): "
                f"{[*self.rows, self.heading][0]}; {EXPECTED}"
            )
        others = [c for c in self.columns if c.heading and not c.says_tags]
        self.columns = [c for c in self.columns if c not in others]
        if others:
            self.tell(f"columns passed over: {', '.join(c.heading for c in others)}")

    def _refuse_numbers(self) -> None:
        """Refuse numbers and 0/1 without headings, which are hardly the names of classes."""
        for column in self.columns:
            values = [v for v in dict.fromkeys(column.values) if v and v not in self.known]
            if not self.heading and values and {v.casefold() for v in values} <= YES | NO:
                raise self._error(
                    f"a column holds {_listed(values)} alone and has no heading that names its "
                    "class; write one ('file_name,cat,dog') or give 'classes'"
                )
            numbers = list(filter(NUMBER.fullmatch, values))
            named = not self.heading or column.says_tags
            if numbers and (len(self.columns) > 1 or (numbers == values and not named)):
                row = self.rows[column.values.index(numbers[0])]
                raise self._error(
                    f"{row} holds the number {numbers[0]} in a column of tags; {EXPECTED}"
                )

    def _refuse_json(self) -> None:
        """Refuse what is drawn on pictures, which Label Studio's CSV has as JSON in a cell."""
        for row, (_, *cells) in zip(self.rows, self.lines(), strict=True):
            if any(map(_is_json, cells)):
                raise self._error(
                    f"line {row.number} holds JSON in a cell, as Label Studio's CSV does: export "
                    "JSON or JSON_MIN there"
                )

    def _tag_separator(self, cells: Sequence[str]) -> str:
        """What parts tags; given classes decide it, for their names may hold such signs."""
        found = [sign for sign in TAG_SEPARATORS if any(sign in cell for cell in cells)]
        for sign in (WHOLE, *found):
            words = {word.strip().casefold() for cell in cells for word in cell.split(sign)}
            if words - {""} <= self.folded:
                return sign
        if len(found) > 1:
            example = next(cell for cell in cells if found[1] in cell)
            raise self._error(
                f"tags are parted by {found[0]!r} in some lines, by {found[1]!r} in others "
                f"({example!r}): use one separator, or give 'classes'; {EXPECTED}"
            )
        return found[0] if found else WHOLE

    def spelled(self, parted: Mapping[str, list[str]], one_hot: bool) -> dict[str, str]:
        """The tags in all cells as ``classes`` spell them, without words for none."""
        none, spelled = set(), {}
        for word in dict.fromkeys(word for words in parted.values() for word in words):
            name = unicodedata.normalize("NFC", word)
            alike = [known for known in self.known if known.casefold() == name.casefold()]
            if not alike and name.casefold() in NO_TAG:
                none.add(word)
            elif len(alike) == 1 and name not in self.known:
                spelled[word] = alike[0]
            elif name in self.known or not self.known:
                spelled[word] = name
            else:
                named = (name for name, *cells in self.lines() for c in cells if word in parted[c])
                raise self._error(
                    f"tag {name!r} of {self.heading if one_hot else next(named)} is not a class "
                    f"({', '.join(self.known)})"
                )
        if none:
            self.tell(f"taken for no class: {_listed(none)}; give 'classes' if it is one")
        if not self.known:
            self._refuse_alike(spelled.values(), one_hot)
        if one_hot:
            if len({*spelled.values()}) < sum(column.heading in spelled for column in self.columns):
                raise self._error(f"two columns have the same heading in {self.heading}")
            self.tell(f"read as one-hot, a column for each class: {', '.join(spelled.values())}")
        return spelled

    def _refuse_alike(self, words: Iterable[str], one_hot: bool) -> None:
        """Refuse tags that differ by letter case or blanks alone, and tags that are made of others,
        as where a sign parts them that is none of ours."""
        first: dict[str, str] = {}
        for word in words:
            other = first.setdefault(" ".join(word.replace("_", " ").split()).casefold(), word)
            if other != word:
                raise self._error(
                    f"the tags {other!r} and {word!r} differ by letter case or blanks alone: spell "
                    "them alike, or give 'classes', by which tags are then spelled"
                )
        for word in () if one_hot else first.values():
            parts = PARTS.split(word)
            if len(parts) > 1 and {*first.values()}.issuperset(parts):
                raise self._error(
                    f"the tag {word!r} is made of the tags {' and '.join(map(repr, parts))}: use "
                    f"';' as the separator of tags, or give 'classes' if it is one; {EXPECTED}"
                )


def _plain(heading: str) -> str:
    """A heading in small letters, without what parts its words."""
    return re.sub(r"[\s_.\-]+", "", heading).casefold()


def _is_json(cell: str) -> bool:
    """Whether a cell is a JSON object, or a list of them; an empty one is no tag."""
    with contextlib.suppress(ValueError, RecursionError):
        return cell.startswith(("{", "[{")) and bool(json.loads(cell))
    return False


def _unwrapped(cell: str) -> str:
    """A list as programs print it, ``['cat', 'dog']``, without its brackets."""
    return cell[1:-1] if len(cell) > 1 and cell[0] + cell[-1] in BRACKETS else cell


def _listed(values: Iterable[str]) -> str:
    return " and ".join(sorted(repr(value) for value in values if value))
