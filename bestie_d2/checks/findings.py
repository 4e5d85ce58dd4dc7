"""What is wrong with data, by kind: all of it is counted, the first few of each kind are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bestie_d2.errors import InputError

LISTED = 5  # lines of a kind that are shown before they are only counted


@dataclass
class Findings:
    """Problems, with which a training fails, and notices, with which it does not.

    Attributes:
        problems, notices: lines by kind, in the order in which they came.
    """

    problems: dict[str, list[str]] = field(default_factory=dict)
    notices: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, problem: object) -> None:
        """Take down a problem: a line, or the error that says it."""
        self.problems.setdefault(kind, []).append(" ".join(str(problem).split()))

    def notice(self, kind: str, line: str) -> None:
        self.notices.setdefault(kind, []).append(line)

    @contextmanager
    def catching(self, kind: str) -> Iterator[None]:
        """What cannot be read in the block is a problem of this kind, and ends the block alone."""
        try:
            yield
        except (InputError, OSError) as error:
            self.add(kind, error)

    @property
    def count(self) -> int:
        """How many problems there are."""
        return sum(map(len, self.problems.values()))

    def describe(self) -> list[str]:
        """A paragraph for the problems and one for the notices, if there are any."""
        lines = []
        for title, kinds in (
            ("problems, with which a training fails", self.problems),
            ("worth a look", self.notices),
        ):
            if kinds:
                lines += ["", f"{title}:"]
            for kind, found in kinds.items():
                lines += [f"  {kind}: {len(found)}", *(f"    {line}" for line in found[:LISTED])]
                if len(found) > LISTED:
                    lines.append(f"    and {len(found) - LISTED} more")
        return lines
