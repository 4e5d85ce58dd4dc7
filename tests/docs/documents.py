"""The code in the project's texts, and the mark above each block that says how it is tested.

``<!-- run: tiny -->`` stands on the line above a block that a test runs as it is written, in a
folder with tiny stand-ins for what it names; ``<!-- not run: WHY -->`` above one that is only read.
Every block of commands or of Python needs one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "datasets/*.md")
    for path in sorted(ROOT.glob(pattern))
]
NOTEBOOKS = [path.relative_to(ROOT) for path in sorted(ROOT.glob("docs/**/*.ipynb"))]
MARK = re.compile(r"<!-- (run: tiny|not run: (?P<why>.+)) -->$")
FENCE = re.compile(r"```(?P<language>\w*)")
MARKED = ("bash", "python")
OTHER_NAMES = ("sh", "shell", "console", "zsh", "py", "pycon")  # that a block could hide behind


@dataclass(frozen=True)
class Block:
    """A fenced block of a text."""

    document: Path
    line: int  # of its fence, from 1
    language: str
    text: str
    mark: re.Match | None

    @property
    def is_run(self) -> bool:
        return self.mark is not None and not self.mark["why"]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: Path) -> Iterator[Block]:
    """The fenced blocks of a text, from top to bottom."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        fence = FENCE.match(line.strip())
        if not fence:
            continue
        if start is None:
            start = number, fence["language"]
            continue
        first, language = start
        above = lines[first - 1].strip() if first else ""
        text = "\n".join(lines[first + 1 : number])
        yield Block(document, first + 1, language, text, MARK.match(above))
        start = None
    assert start is None, f"{document}: the block of line {start[0] + 1} has no end"


def all_blocks(language: str) -> list[Block]:
    return [b for document in DOCUMENTS for b in blocks_of(document) if b.language == language]


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def spans_of(document: Path) -> list[str]:
    """What stands between single backticks outside of the blocks, on one line."""
    text = (ROOT / document).read_text(encoding="utf-8")
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", outside)
