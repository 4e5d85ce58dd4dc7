"""Tags as words in the cells of a table: what parts them, and how they are spelled."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from bestie_d2.errors import InputError

EXPECTED = "expected 'file_name,tag;tag' a line"
TAG_SEPARATORS = (";", "|", ",", "\n")  # the last one in a cell in quotes
BRACKETS = ("[]", "()", "{}")
# What programs write where there is no tag.
NO_TAG = {"none", "nan", "null", "nil", "n/a", "na", "<na>", "-", "background", "_background_"}
PARTS = re.compile(r"\s*[/+&:\s]\s*")  # between tags, perhaps, or in the name of a class


@dataclass(frozen=True)
class TagWords:
    """Reads tags out of cells.

    Attributes:
        path: of the table, for messages.
        known: the names of classes, if they are given; tags are spelled by them.
    """

    path: str
    known: tuple[str, ...]

    def separator(self, cells: Sequence[str]) -> str:
        """The sign between tags."""
        found = [sign for sign in TAG_SEPARATORS if any(sign in cell for cell in cells)]
        if self.known and len(found) > 1:
            fitting = [sign for sign in found if self._all_known(cells, sign)]
            found = fitting or found
        if len(found) > 1:
            example = next(cell for cell in cells if found[1] in cell)
            raise InputError(
                f"{self.path}: tags are parted by {found[0]!r} in some lines, by {found[1]!r} in "
                f"others ({example!r}): use one separator, or give 'classes'; {EXPECTED}"
            )
        if found == [","] and self._all_known(cells, ";"):
            return ";"  # a class has a comma in its name
        return found[0] if found else ";"

    def _all_known(self, cells: Sequence[str], sign: str) -> bool:
        known = {name.casefold() for name in self.known}
        words = (word.strip().casefold() for cell in cells for word in cell.split(sign))
        return bool(known) and all(word in known for word in words if word)

    def spelled(self, word: str, where: str) -> str:
        """A tag as ``classes`` spell it.

        Raises:
            InputError: it is none of them.
        """
        word = unicodedata.normalize("NFC", word)
        if not self.known or word in self.known:
            return word
        alike = [name for name in self.known if name.casefold() == word.casefold()]
        if len(alike) != 1:
            raise InputError(
                f"{self.path}: tag {word!r} of {where} is not a class ({', '.join(self.known)})"
            )
        return alike[0]

    def check_spelling(self, words: Sequence[str]) -> None:
        """Refuse names that differ by letter case or blanks alone."""
        spellings: dict[str, str] = {}
        for word in () if self.known else words:
            first = spellings.setdefault(" ".join(word.replace("_", " ").split()).casefold(), word)
            if first != word:
                raise InputError(
                    f"{self.path}: the tags {first!r} and {word!r} differ by letter case or blanks "
                    "alone: spell them alike, or give 'classes', by which tags are then spelled"
                )

    def parted(self, cell: str, separator: str, where: str) -> list[str]:
        """The tags in a cell; ``where`` is named if one of them is no class."""
        words = (word.strip().strip("'\"").strip() for word in unwrapped(cell).split(separator))
        return [self.spelled(word, where) for word in words if word and not self.means_none(word)]

    def means_none(self, word: str) -> bool:
        """Whether it says that there is no tag, unless it is the name of a class."""
        return word.casefold() in NO_TAG and not self._all_known([word], ";")

    def check_joined(self, words: Sequence[str]) -> None:
        """Refuse a tag that is made of others, as where a sign parts tags that is none of ours."""
        known = set(words)
        for word in () if self.known else known:
            parts = PARTS.split(word)
            if len(parts) > 1 and known.issuperset(parts):
                raise InputError(
                    f"{self.path}: the tag {word!r} is made of the tags "
                    f"{' and '.join(map(repr, parts))}: use ';' as the separator of tags, or give "
                    f"'classes' if it is one; {EXPECTED}"
                )


def unwrapped(cell: str) -> str:
    """A list as programs print it, ``['cat', 'dog']``, without its brackets."""
    return cell[1:-1] if len(cell) > 1 and cell[0] + cell[-1] in BRACKETS else cell
