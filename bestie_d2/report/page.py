"""The page that holds a report, and its building blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from bestie_d2.engine.command_line import reason_of

Block = tuple  # the name of a macro of page.html, and its arguments
Cell = str | int | float | None

DASH = "–"
NUMBER = re.compile(r"-?[\d,]+(\.\d+)?(e[-+]?\d+)?")


def page(title: str, lead: str, sections: Mapping[str, Sequence[Block]]) -> str:
    """The whole page; the template escapes every text in it."""
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=loader, autoescape=True).get_template("page.html")
    return template.render(title=title, lead=lead, sections=sections)


def attempt(what: str, build: Callable[..., Any], *arguments: object) -> list[Block]:
    """Parts of the page, or one that says why they are not to be had: files may be wrong, or just
    being written."""
    try:
        return build(*arguments) or []
    except Exception as error:
        return [("text", f"{what} cannot be shown: {reason_of(error)}")]


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Block:
    """A table whose first column titles the rows; columns of numbers are right-aligned, floats have
    one decimal, None and NaN are a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    columns = [{row[i] for row in cells} - {DASH} for i in range(len(head))]
    numbers = [bool(column) and all(map(NUMBER.fullmatch, column)) for column in columns]
    return ("table", list(zip(head, numbers, strict=True)), cells)


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if math.isfinite(value) else DASH
    return f"{value:,}" if isinstance(value, int) else value or DASH
