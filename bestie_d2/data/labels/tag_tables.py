"""Tables of image tags: the columns that are meant, and the tags in them.

A table is read as it is meant, or refused with a line that says what was found; never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bestie_d2.data.labels.table_files import Row, is_picture, read_rows
from bestie_d2.data.labels.tag_words import EXPECTED, TagWords, unwrapped
from bestie_d2.data.names import portable
from bestie_d2.errors import InputError

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


@dataclass(frozen=True)
class TagTable:
    """The images of a table.

    Attributes:
        tags: names of the tags of each image, by file name, in the order of the table.
        classes: all names, in contiguous order.
        remarks: lines on what was read in another way than is usual.
    """

    tags: dict[str, list[str]]
    classes: list[str]
    remarks: list[str] = field(default_factory=list)


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
    rows = read_rows(path)
    reader = _Reader(path, TagWords(path, tuple(classes or ())))
    heading, rows = reader.part_heading(rows)
    found = reader.tags_of_rows(heading, rows)
    names = [name for tags in found.tags.values() for name in tags]
    ordered = list(classes) if classes else _in_order({*names, *found.classes})
    return TagTable(found.tags, ordered, found.remarks)


def _in_order(names: set[str]) -> list[str]:
    """By the alphabet, or as numbers count if all are such."""
    numbers = all(name.isascii() and name.isdecimal() for name in names)
    return sorted(names, key=(lambda name: (int(name), name)) if numbers else None)


def plain(heading: str) -> str:
    """A heading in small letters, without what parts its words."""
    return re.sub(r"[\s_.\-]+", "", heading).casefold()


@dataclass(frozen=True)
class _Reader:
    """Reads the rows of one file.

    Attributes:
        path: of the file, for messages.
        words: how tags are read and spelled.
    """

    path: str
    words: TagWords

    def part_heading(self, rows: list[Row]) -> tuple[Row | None, list[Row]]:
        """The line of headings, if the first one is none of an image, and the other lines."""
        if not rows or any(map(is_picture, rows[0].cells)):
            return None, rows
        first = rows[0]
        rest = [row for row in rows[1:] if row.cells != first.cells]  # of tables put together
        words = [plain(cell) for cell in first.cells]
        if any(word in FILE_HEADINGS for word in words):
            return first, rest
        if not any(is_picture(cell) for row in rest for cell in row.cells):
            return None, rows  # names without suffix
        below = {cell.casefold() for row in rest for cell in row.cells if cell}
        if any(cell.casefold() in below for cell in first.cells if cell):
            raise InputError(
                f"{self.path}: {first} can be a heading or an image without suffix; {EXPECTED}, "
                "and a heading such as 'file_name,tags'"
            )
        return first, rest

    def tags_of_rows(self, heading: Row | None, rows: list[Row]) -> TagTable:
        column = self._file_column(heading, rows)
        columns = self._tag_columns(heading, rows, column)
        if heading and columns and self._is_one_hot(heading, rows, columns):
            return self._one_hot(heading, rows, column, columns)
        return self._words(heading, rows, column, columns)

    def _file_column(self, heading: Row | None, rows: list[Row]) -> int:
        """The column of the images' names: most of them look like one, or its heading says so."""
        width = max((len(row.cells) for row in rows), default=1)
        counts = [sum(is_picture(row.cell(column)) for row in rows) for column in range(width)]
        headed = [
            column
            for column, cell in enumerate(heading.cells if heading else ())
            if plain(cell) in FILE_HEADINGS
        ]
        if max(counts) > 0:
            best = [column for column, count in enumerate(counts) if count == max(counts)]
            return next((column for column in best if column in headed), best[0])
        return headed[0] if headed else 0

    def _tag_columns(self, heading: Row | None, rows: list[Row], column: int) -> list[int]:
        """The columns that may hold tags: all others, without a count of the lines."""
        width = max((len(row.cells) for row in (*rows, *([heading] if heading else []))), default=1)
        columns = [other for other in range(width) if other != column]
        if not rows and not heading:
            raise InputError(f"{self.path}: no image in it; {EXPECTED}")
        if not columns:
            first = rows[0] if rows else heading
            raise InputError(f"{self.path}: {first} has one column; {EXPECTED}")
        if heading is None:
            return columns
        return [other for other in columns if not _counts_lines(heading, rows, other)]

    # One column for each class.

    def _is_one_hot(self, heading: Row, rows: list[Row], columns: Sequence[int]) -> bool:
        values = {row.cell(column).casefold() for row in rows for column in columns}
        if not values - {""} or not values <= YES | NO:
            return False
        names = [heading.cell(column) for column in columns]
        if len(names) == 1 and TAG_HEADING.fullmatch(plain(names[0])):
            if values - {""} <= {name.casefold() for name in self.words.known}:
                return False  # classes of these names
            if names[0] in self.words.known:
                return True
            raise InputError(
                f"{self.path}: column {names[0]!r} holds {_listed(values)} alone: name it after "
                "its class if it says whether an image has it (one-hot), or give 'classes' if "
                "there are classes of these names"
            )
        return True

    def _one_hot(
        self, heading: Row, rows: list[Row], column: int, columns: Sequence[int]
    ) -> TagTable:
        remarks = self._on_no_tags(heading.cell(other) for other in columns)
        columns = [other for other in columns if not self.words.means_none(heading.cell(other))]
        names = [heading.cell(other) for other in columns]
        if not all(names):
            raise InputError(f"{self.path}: a column of 0 and 1 has no heading, its class's name")
        names = [self.words.spelled(name, str(heading)) for name in names]
        self.words.check_spelling(names)
        if len(set(names)) < len(names):
            raise InputError(f"{self.path}: two columns have the same heading in {heading}")
        remark = f"{self.path}: read as one-hot, a column for each class: {', '.join(names)}"
        pairs = [
            (row, [n for n, c in zip(names, columns, strict=True) if row.cell(c).casefold() in YES])
            for row in rows
        ]
        tags, repeated = self._by_image(pairs, column)
        return TagTable(tags, names, [remark, *remarks, *repeated])

    # Tags as words.

    def _words(
        self, heading: Row | None, rows: list[Row], column: int, columns: list[int]
    ) -> TagTable:
        remarks = []
        if len(columns) > 1 and heading:
            columns, passed_over = self._columns_of_words(heading, columns, rows)
            if passed_over:
                remarks.append(f"{self.path}: columns passed over: {', '.join(passed_over)}")
        self._refuse_numbers(heading, rows, columns)
        cells = [unwrapped(row.cell(other)) for row in rows for other in columns]
        separator = self.words.separator(cells)
        if separator == ",":
            remarks.append(f"{self.path}: a comma in a cell parts two tags")
        remarks += self._on_no_tags(word for cell in cells for word in cell.split(separator))
        pairs = []
        for row in rows:
            where = row.cell(column) or str(row)
            parted = (self.words.parted(row.cell(c), separator, where) for c in columns)
            pairs.append((row, [word for words in parted for word in words]))
        found = [word for _, words in pairs for word in words]
        self.words.check_spelling(found)
        self.words.check_joined(found)
        tags, repeated = self._by_image(pairs, column)
        return TagTable(tags, [], [*remarks, *repeated])

    def _on_no_tags(self, words: Iterable[str]) -> list[str]:
        """A line on words that are read as no tag."""
        found = {word.strip() for word in words if self.words.means_none(word.strip())}
        line = f"{self.path}: taken for no class: {_listed(found)}; give 'classes' if it is one"
        return [line] if found else []

    def _columns_of_words(
        self, heading: Row, columns: list[int], rows: list[Row]
    ) -> tuple[list[int], list[str]]:
        """The columns whose headings speak of tags, and the headings of the others."""
        tagged = [c for c in columns if TAG_HEADING.fullmatch(plain(heading.cell(c)))]
        unnamed = [c for c in columns if not heading.cell(c)]
        if tagged:
            kept = sorted({*tagged, *unnamed})
            return kept, [heading.cell(c) for c in columns if c not in kept]
        raise InputError(
            f"{self.path}: of the columns {', '.join(repr(heading.cell(c)) for c in columns)} none "
            f"is called 'tags', and not all hold 0 and 1 alone (as one-hot columns do): "
            f"{rows[0]}; {EXPECTED}"
        )

    def _refuse_numbers(self, heading: Row | None, rows: list[Row], columns: list[int]) -> None:
        """Refuse numbers and 0/1 without headings, which are hardly the names of classes."""
        for column in columns:
            values = {row.cell(column) for row in rows} - {"", *self.words.known}
            if heading is None and values and {v.casefold() for v in values} <= YES | NO - {""}:
                raise InputError(
                    f"{self.path}: a column holds {_listed(values)} alone and has no heading that "
                    "names its class; write one ('file_name,cat,dog') or give 'classes'"
                )
            numbers = [value for value in values if re.fullmatch(r"-?[0-9]*\.?[0-9]+", value)]
            named = heading is None or TAG_HEADING.fullmatch(plain(heading.cell(column)))
            if numbers and (len(columns) > 1 or (len(numbers) == len(values) and not named)):
                raise InputError(
                    f"{self.path}: {next(r for r in rows if r.cell(column) == numbers[0])} holds "
                    f"the number {numbers[0]} in a column of tags; {EXPECTED}"
                )

    def _by_image(
        self, pairs: Sequence[tuple[Row, list[str]]], column: int
    ) -> tuple[dict[str, list[str]], list[str]]:
        """The tags by file name, those of several lines put together, and a remark on these."""
        names: dict[str, str] = {}
        tags: dict[str, list[str]] = {}
        pictures = any(is_picture(row.cell(column)) for row, _ in pairs)
        for row, words in pairs:
            written = row.cell(column)
            if not written:
                raise InputError(f"{self.path}: {row} names no image; {EXPECTED}")
            if pictures and plain(written) in FILE_HEADINGS:
                raise InputError(
                    f"{self.path}: {row} is a heading, and not the first line; {EXPECTED}"
                )
            name = names.setdefault(portable(written), written)
            tags.setdefault(name, []).extend(words)
        more = len(pairs) - len(tags)
        remark = f"{self.path}: lines that name an image again: {more}; their tags are put together"
        return tags, [remark] if more else []


def _counts_lines(heading: Row, rows: Sequence[Row], column: int) -> bool:
    """Whether a column is the number of each line."""
    name = plain(heading.cell(column))
    values = [row.cell(column) for row in rows]
    numbers = len(set(values)) == len(values) and all(value.isdecimal() for value in values)
    return numbers and (name in INDEX_HEADINGS or name.startswith("unnamed"))


def _listed(values: Mapping | set[str]) -> str:
    shown = sorted(repr(value) for value in values if value)
    return " and ".join(shown)
