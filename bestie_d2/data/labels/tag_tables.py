"""Tables of image tags: the columns that are meant, and the tags in them.

A table is read as it is meant, or refused with a line that says what was found; never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bestie_d2.data.labels.table_files import Row, is_picture, read_rows
from bestie_d2.data.names import portable
from bestie_d2.errors import InputError

EXPECTED = "expected 'file_name,tag;tag' a line"
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
YES = {"1", "1.0", "true", "yes", "y", "t", "x"}
NO = {"0", "0.0", "false", "no", "n", "f", ""}
TAG_SEPARATORS = (";", "|", ",", "\n")  # the last one in a cell in quotes
BRACKETS = ("[]", "()", "{}")
# What programs write where there is no tag.
NO_TAG = {"none", "nan", "null", "nil", "n/a", "na", "<na>", "-", "background", "_background_"}
PARTS = re.compile(r"\s*[/+&:\s]\s*")  # between tags, perhaps, or in the name of a class


class TagTable(NamedTuple):
    """The images of a table.

    Attributes:
        tags: names of the tags of each image, by file name, in the order of the table.
        classes: all names, in contiguous order.
        remarks: lines on what was read in another way than is usual.
    """

    tags: dict[str, list[str]]
    classes: list[str]
    remarks: list[str]


def read_table(path: str, classes: Sequence[str] | None = None) -> TagTable:
    """Read a table of images and tags.

    Columns are parted by commas, semicolons or tabs; blanks around cells and tags, empty lines and
    a byte order mark are passed over. Tags stand in one column, parted by ``;``, ``|`` or commas,
    or in several; or each class has a column (one-hot: 1/0, true/false, yes/no). An image may be
    on several lines. The first line may be a heading or an image.

    Args:
        classes: names that tags are spelled by, whatever their letter case.

    Raises:
        InputError: unreadable, or not clear: the line says what was found.
    """
    table = _Table(path, classes or ())
    heading = table.heading
    one_hot = heading is not None and table.is_one_hot(heading)
    names = table.one_hot(heading) if heading and one_hot else table.words()
    return TagTable(table.tags, list(classes) if classes else _in_order(names), table.remarks)


def _in_order(names: set[str]) -> list[str]:
    """By the alphabet, or as numbers count if all are such."""
    numbers = all(name.isascii() and name.isdecimal() for name in names)
    return sorted(names, key=(lambda name: (int(name), name)) if numbers else None)


def _plain(heading: str) -> str:
    """A heading in small letters, without what parts its words."""
    return re.sub(r"[\s_.\-]+", "", heading).casefold()


def _unwrapped(cell: str) -> str:
    """A list as programs print it, ``['cat', 'dog']``, without its brackets."""
    return cell[1:-1] if len(cell) > 1 and cell[0] + cell[-1] in BRACKETS else cell


def _listed(values: Iterable[str]) -> str:
    return " and ".join(sorted(repr(value) for value in values if value))


class _Table:
    """The rows of a file, read into ``tags`` and ``remarks`` by one of two methods."""

    def __init__(self, path: str, known: Sequence[str]) -> None:
        self.path = path
        self.known = known  # names of classes, if they are given
        self.folded = {name.casefold() for name in known}
        self.tags: dict[str, list[str]] = {}
        self.remarks: list[str] = []
        self.heading, self.rows = self._part_heading(read_rows(path))
        all_rows = [*self.rows, *([self.heading] if self.heading else [])]
        if not all_rows:
            raise self._error(f"no image in it; {EXPECTED}")
        width = max(len(row.cells) for row in all_rows)
        self.name_column = self._find_names()
        self.columns = [column for column in range(width) if column != self.name_column]
        if not self.columns:
            raise self._error(f"{all_rows[0]} has one column; {EXPECTED}")
        if self.heading:
            self.columns = [c for c in self.columns if not self._counts_lines(self.heading, c)]

    def _error(self, line: str) -> InputError:
        return InputError(f"{self.path}: {line}")

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

    def _find_names(self) -> int:
        """The column of the images' names: most of them look like one, or its heading says so."""
        width = max((len(row.cells) for row in self.rows), default=1)
        counts = [sum(is_picture(row.cell(column)) for row in self.rows) for column in range(width)]
        cells = self.heading.cells if self.heading else []
        headed = [column for column, cell in enumerate(cells) if _plain(cell) in FILE_HEADINGS]
        if not max(counts):
            return headed[0] if headed else 0
        best = [column for column, count in enumerate(counts) if count == max(counts)]
        return next((column for column in best if column in headed), best[0])

    def _counts_lines(self, heading: Row, column: int) -> bool:
        """Whether a column is the number of each line."""
        name = _plain(heading.cell(column))
        values = [row.cell(column) for row in self.rows]
        numbers = len(set(values)) == len(values) and all(value.isdecimal() for value in values)
        return numbers and (name in INDEX_HEADINGS or name.startswith("unnamed"))

    def _says_tags(self, heading: str) -> bool:
        return bool(TAG_HEADING.fullmatch(_plain(heading)))

    # One column for each class.

    def is_one_hot(self, heading: Row) -> bool:
        values = {row.cell(column).casefold() for row in self.rows for column in self.columns}
        if not values - {""} or not values <= YES | NO:
            return False
        name = heading.cell(self.columns[0])
        if len(self.columns) > 1 or not self._says_tags(name):
            return True
        if values - {""} <= self.folded:
            return False  # classes of these names
        if name in self.known:
            return True
        raise self._error(
            f"column {name!r} holds {_listed(values)} alone: name it after its class if it says "
            "whether an image has it (one-hot), or give 'classes' if there are classes of these "
            "names"
        )

    def one_hot(self, heading: Row) -> set[str]:
        headings = {column: heading.cell(column) for column in self.columns}
        if not all(headings.values()):
            raise self._error("a column of 0 and 1 has no heading, its class's name")
        names = {
            column: self._spelled(cell, str(heading))
            for column, cell in headings.items()
            if not self._means_none(cell)
        }
        self._check_spelling(names.values())
        if len(set(names.values())) < len(names):
            raise self._error(f"two columns have the same heading in {heading}")
        self.remarks.append(
            f"{self.path}: read as one-hot, a column for each class: {', '.join(names.values())}"
        )
        self._tell_of_no_tags(headings.values())
        self._add_by_image(
            [name for column, name in names.items() if row.cell(column).casefold() in YES]
            for row in self.rows
        )
        return set(names.values())

    # Tags as words.

    def words(self) -> set[str]:
        if len(self.columns) > 1 and self.heading:
            self._choose_columns(self.heading)
        self._refuse_numbers()
        cells = dict.fromkeys(row.cell(column) for row in self.rows for column in self.columns)
        unwrapped = [_unwrapped(cell) for cell in cells]
        separator = self._tag_separator(unwrapped)
        if separator == ",":
            self.remarks.append(f"{self.path}: a comma in a cell parts two tags")
        self._tell_of_no_tags(word for cell in unwrapped for word in cell.split(separator))
        first = {row.cell(column): row for row in reversed(self.rows) for column in self.columns}
        tags = {
            cell: self._parted(inner, separator, first[cell])
            for cell, inner in zip(cells, unwrapped, strict=True)
        }
        found = dict.fromkeys(word for words in tags.values() for word in words)
        self._check_spelling(found)
        self._check_joined(set(found))
        self._add_by_image(
            [word for column in self.columns for word in tags[row.cell(column)]]
            for row in self.rows
        )
        return set(found)

    def _choose_columns(self, heading: Row) -> None:
        """Keep the columns whose headings speak of tags, or that have none."""
        headings = {column: heading.cell(column) for column in self.columns}
        if not any(map(self._says_tags, headings.values())):
            raise self._error(
                f"of the columns {', '.join(map(repr, headings.values()))} none is called 'tags', "
                "and not all hold 0 and 1 alone (as one-hot columns do): "
                f"{(self.rows or [heading])[0]}; {EXPECTED}"
            )
        self.columns = [c for c, cell in headings.items() if not cell or self._says_tags(cell)]
        passed_over = [cell for c, cell in headings.items() if c not in self.columns]
        if passed_over:
            self.remarks.append(f"{self.path}: columns passed over: {', '.join(passed_over)}")

    def _refuse_numbers(self) -> None:
        """Refuse numbers and 0/1 without headings, which are hardly the names of classes."""
        for column in self.columns:
            values = {row.cell(column) for row in self.rows} - {"", *self.known}
            truths = {value.casefold() for value in values} <= YES | NO - {""}
            if self.heading is None and values and truths:
                raise self._error(
                    f"a column holds {_listed(values)} alone and has no heading that names its "
                    "class; write one ('file_name,cat,dog') or give 'classes'"
                )
            numbers = [value for value in values if re.fullmatch(r"-?[0-9]*\.?[0-9]+", value)]
            named = self.heading is None or self._says_tags(self.heading.cell(column))
            if numbers and (len(self.columns) > 1 or (len(numbers) == len(values) and not named)):
                row = next(row for row in self.rows if row.cell(column) == numbers[0])
                raise self._error(
                    f"{row} holds the number {numbers[0]} in a column of tags; {EXPECTED}"
                )

    def _tag_separator(self, cells: Sequence[str]) -> str:
        """The sign between tags."""
        found = [sign for sign in TAG_SEPARATORS if any(sign in cell for cell in cells)]
        if self.known and len(found) > 1:
            found = [sign for sign in found if self._all_known(cells, sign)] or found
        if len(found) > 1:
            example = next(cell for cell in cells if found[1] in cell)
            raise self._error(
                f"tags are parted by {found[0]!r} in some lines, by {found[1]!r} in others "
                f"({example!r}): use one separator, or give 'classes'; {EXPECTED}"
            )
        if found == [","] and self._all_known(cells, ";"):
            return ";"  # a class has a comma in its name
        return found[0] if found else ";"

    def _all_known(self, cells: Sequence[str], sign: str) -> bool:
        words = (word.strip().casefold() for cell in cells for word in cell.split(sign))
        return bool(self.known) and all(word in self.folded for word in words if word)

    def _parted(self, cell: str, separator: str, row: Row) -> list[str]:
        """The tags in a cell."""
        words = (word.strip().strip("'\"").strip() for word in cell.split(separator))
        where = row.cell(self.name_column) or str(row)
        return [self._spelled(word, where) for word in words if word and not self._means_none(word)]

    def _spelled(self, word: str, where: str) -> str:
        """A tag as ``classes`` spell it."""
        word = unicodedata.normalize("NFC", word)
        if not self.known or word in self.known:
            return word
        alike = [name for name in self.known if name.casefold() == word.casefold()]
        if len(alike) != 1:
            raise self._error(f"tag {word!r} of {where} is not a class ({', '.join(self.known)})")
        return alike[0]

    def _means_none(self, word: str) -> bool:
        """Whether it says that there is no tag, unless it is the name of a class."""
        return word.casefold() in NO_TAG and word.casefold() not in self.folded

    def _tell_of_no_tags(self, words: Iterable[str]) -> None:
        found = {word.strip() for word in words if self._means_none(word.strip())}
        if found:
            self.remarks.append(
                f"{self.path}: taken for no class: {_listed(found)}; give 'classes' if it is one"
            )

    def _check_spelling(self, words: Iterable[str]) -> None:
        """Refuse names that differ by letter case or blanks alone."""
        spellings: dict[str, str] = {}
        for word in () if self.known else words:
            first = spellings.setdefault(" ".join(word.replace("_", " ").split()).casefold(), word)
            if first != word:
                raise self._error(
                    f"the tags {first!r} and {word!r} differ by letter case or blanks alone: spell "
                    "them alike, or give 'classes', by which tags are then spelled"
                )

    def _check_joined(self, words: set[str]) -> None:
        """Refuse a tag that is made of others, as where a sign parts tags that is none of ours."""
        for word in () if self.known else words:
            parts = PARTS.split(word)
            if len(parts) > 1 and words.issuperset(parts):
                raise self._error(
                    f"the tag {word!r} is made of the tags {' and '.join(map(repr, parts))}: use "
                    f"';' as the separator of tags, or give 'classes' if it is one; {EXPECTED}"
                )

    def _add_by_image(self, tags_of_rows: Iterable[list[str]]) -> None:
        """Put the tags of all rows of an image together."""
        names: dict[str, str] = {}
        pictures = any(is_picture(row.cell(self.name_column)) for row in self.rows)
        for row, words in zip(self.rows, tags_of_rows, strict=True):
            written = row.cell(self.name_column)
            if not written:
                raise self._error(f"{row} names no image; {EXPECTED}")
            if pictures and not is_picture(written) and _plain(written) in FILE_HEADINGS:
                raise self._error(f"{row} is a heading, and not the first line; {EXPECTED}")
            name = names.setdefault(portable(written), written)
            self.tags.setdefault(name, []).extend(words)
        more = len(self.rows) - len(self.tags)
        if more:
            self.remarks.append(
                f"{self.path}: lines that name an image again: {more}; their tags are put together"
            )
