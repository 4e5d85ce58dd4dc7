"""The parts of an HTML page, as text. Every argument called text, title or name is escaped here;
what a function returns is HTML and goes into the next as it is."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from bestie_d2.report.style import STYLE

Cell = str | int | float | None

JPEG_QUALITY = 80
NOTHING = "–"  # a cell without a value

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{lead}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{sections}
</main>
</body>
</html>
"""


def page(title: str, lead: str, sections: Mapping[str, Sequence[str]]) -> str:
    """A whole page.

    Args:
        lead: HTML under the title.
        sections: HTML of their parts, by title.
    """
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in sections)
    bodies = "\n".join(
        f'<section id="{_anchor(name)}">\n<h2>{escape(name)}</h2>\n{"".join(parts)}</section>'
        for name, parts in sections.items()
    )
    return PAGE.format(title=escape(title), style=STYLE, lead=lead, links=links, sections=bodies)


def _anchor(name: str) -> str:
    return escape(name.lower().replace(" ", "-"))


def paragraph(text: str, *, note: bool = False) -> str:
    """A paragraph; ``note`` for remarks, in smaller letters."""
    mark = ' class="note"' if note else ""
    return f"<p{mark}>{escape(text)}</p>\n"


def heading(text: str) -> str:
    """The title of a part of a section."""
    return f"<h3>{escape(text)}</h3>\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that scrolls inside its own box; columns of numbers are right-aligned.

    The first cell of a row is its title. Floats have one decimal, None is a dash.
    """
    rows = list(rows)
    columns = ([row[index] for row in rows if row[index] is not None] for index in range(len(head)))
    marks = [
        ' class="number"' if cells and all(map(_is_number, cells)) else "" for cells in columns
    ]
    titles = "".join(
        f'<th scope="col"{mark}>{escape(name)}</th>' for name, mark in zip(head, marks, strict=True)
    )
    lines = "".join(f"<tr>{_cells(row, marks)}</tr>\n" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{lines}</tbody></table></div>\n"
    )


def _cells(row: Sequence[Cell], marks: Sequence[str]) -> str:
    title, *others = (escape(_shown(cell)) for cell in row)
    cells = (f"<td{mark}>{text}</td>" for text, mark in zip(others, marks[1:], strict=True))
    return f'<th scope="row"{marks[0]}>{title}</th>' + "".join(cells)


def _is_number(cell: str | int | float) -> bool:
    """Whether a cell is a number, also as text."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _shown(cell: Cell) -> str:
    if cell is None:
        return NOTHING
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def details(title: str, text: str) -> str:
    """A text that is shown as it is, once its title is clicked."""
    return (
        f"<details><summary>{escape(title)}</summary>"
        f'<pre class="scroll" tabindex="0">{escape(text)}</pre></details>\n'
    )


def figure(content: str, title: str, text: str = "") -> str:
    """A chart (HTML) under its title, with a remark below."""
    note = f'<span class="note">{escape(text)}</span>' if text else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{content}{note}</figure>\n"


def side_by_side(figures: Iterable[str]) -> str:
    """Figures in as many columns as there is room for."""
    return f'<div class="charts">{"".join(figures)}</div>\n'


def picture(pixels: np.ndarray, name: str, text: str, *, alternative: str) -> str:
    """An inlined picture with its name and a remark below.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        alternative: what is said in place of it.
    """
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = pixels.shape[:2]
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(alternative)}"><figcaption><b>{escape(name)}</b> {escape(text)}'
        "</figcaption></figure>\n"
    )


def picture_row(title: str, pictures: Iterable[str]) -> str:
    """The pictures of one image, which wrap where there is no room."""
    return f'<h4>{escape(title)}</h4>\n<div class="pictures">{"".join(pictures)}</div>\n'
