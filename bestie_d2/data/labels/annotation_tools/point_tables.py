"""Tables of points: spreadsheets saved as CSV, and napari's points layers.

A spreadsheet has a column for x and one for y, most often one for the file and one for the class;
without one for files it is of the image that it is called like. Pixels are taken for indices;
percent (0 to 100) and fractions (0 to 1) count from the outer corner, as everywhere. Which of them
they are, headings say (``x_px``, ``x (%)``, ``x_rel``) or percent signs; else the numbers do.

napari writes ``index,axis-0,axis-1`` and further properties; axis 0 is y, and whole numbers are the
centers of pixels (``vispy/layers/base.py`` shifts pictures by half a pixel to have them there).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from bestie_d2.data.labels.annotation_tools.exports import (
    CLASS_KEYS,
    FRACTIONS,
    PERCENT,
    PIXELS,
    POINT,
    Document,
    Export,
    Format,
    LabeledImage,
    Shape,
    as_label,
    as_number,
    plain,
)
from bestie_d2.data.labels.table_rows import Row, is_picture
from bestie_d2.data.labels.tag_tables import FILE_HEADINGS

AXES = ("axis0", "axis1")
X, Y = (
    {axis, f"c{axis}", f"{axis}c", f"{axis}center", f"{axis}centre", f"center{axis}", f"{axis}pos"}
    | {f"{axis}coord", f"{axis}coordinate", f"coord{axis}", f"{axis}position", f"position{axis}"}
    | {f"pos{axis}", f"point{axis}", f"{axis}point", f"centroid{axis}", f"{axis}centroid", other}
    for axis, other in (("x", "col"), ("y", "row"))
)
X |= {"column", "columns", "cols"}
Y |= {"rows"}
UNIT_BEFORE = re.compile(
    "(?P<pixels>px|pixels?)(?=[xy]$)|(?P<percent>percent|pct|perc)(?=[xy]$)"
    "|(?P<fractions>rel|relative|norm|normali[sz]ed|frac)(?=[xy]$)"
)
UNIT = re.compile(  # behind the name of a coordinate
    r"(?P<pixels>[(\[]?(px|pixels?)[)\]]?)$"
    r"|(?P<percent>[(\[]?(%|percent|percentage|pct|perc)[)\]]?)$"
    r"|(?P<fractions>[(\[]?(rel|relative|norm|normali[sz]ed|frac|fraction|0\.*1)[)\]]?)$"
)
PER_SIDE = {"pixels": PIXELS, "percent": PERCENT, "fractions": FRACTIONS}
WITHOUT_HEADING = ("file", "x", "y", "class")
THOUSANDS = re.compile("-?[1-9][0-9]{0,2},[0-9]{3}")  # or a decimal comma


def claims_table(document: Document) -> bool:
    rows = document.content
    return _is_table(rows) and _heading(rows) is not None


def claims_napari(document: Document) -> bool:
    rows = document.content
    return _is_table(rows) and set(AXES) <= {plain(cell) for cell in rows[0].cells}


def read_napari(document: Document, export: Export) -> None:
    heading, *rows = document.content
    _refuse_longer(document, heading.cells, rows)
    names = [plain(cell) for cell in heading.cells]
    if "axis2" in names:
        raise document.error("axis-2", "points of a stack; save those of one plane alone")
    image = document.image()
    if "shapetype" in names:
        image.shapes = [Shape("vertex", None)] * len(rows)
    else:
        label = next((names.index(key) for key in CLASS_KEYS if key in names), None)
        for row in rows:
            y, x = (_number(document, heading.cells, row, names.index(axis)) for axis in AXES)
            image.shapes.append(Shape(POINT, _label(row, label), x, y))
    export.images.append(image)


def read_table(document: Document, export: Export, *, unit: str = "") -> None:
    found = _heading(document.content)
    if found is None:
        raise document.error("heading", "names no column x and no column y")
    heading, rows = found
    _refuse_longer(document, heading, rows)
    names, units = zip(*map(_parted, heading), strict=True)
    x, y = (next(i for i, name in enumerate(names) if name in axis) for axis in (X, Y))
    others = [i for i in range(len(names)) if i not in (x, y)]
    file = _file_column(rows, names, others)
    label = _class_column(rows, names, [i for i in others if i != file])
    marked = all(_cell(row, x).endswith("%") for row in rows) and bool(rows)
    points = [tuple(_number(document, heading, row, i) for i in (x, y)) for row in rows]
    unit = unit or units[x] or units[y] or ("percent" if marked else "")
    unsure = not unit
    if unsure:
        values = [value for point in points for value in point]
        inside = all(0 <= value <= FRACTIONS for value in values)
        unsure = not inside and all(0 <= value <= PERCENT for value in values)
        unit = "fractions" if inside and any(value % 1 for value in values) else "pixels"
    images: dict[str, LabeledImage] = {}
    for row, (px, py) in zip(rows, points, strict=True):
        name = document.name if file is None else _cell(row, file)
        if not name:
            raise document.error(str(row), "names no image")
        if name not in images:
            image = document.image() if file is None else LabeledImage((name,), f"image {name}")
            image.per_side, image.unsure = PER_SIDE[unit], unsure
            images[name] = image
        image = images[name]
        image.shapes.append(Shape(POINT, _label(row, label), px, py, row))
    export.images += images.values()
    export.remarks.append(
        f"x and y of {document.name} are read as {unit}" + ", of 0 to 1" * (unit == "fractions")
    )


def _is_table(content: object) -> bool:
    return isinstance(content, list) and bool(content) and isinstance(content[0], Row)


def _heading(rows: Sequence[Row]) -> tuple[list[str], Sequence[Row]] | None:
    """The headings and the lines of a table of points; None of another one."""
    first = rows[0].cells
    names = {_parted(cell)[0] for cell in first}
    if names & X and names & Y:
        return first, rows[1:]
    numbers = [as_number(cell) is not None for cell in first]
    named = is_picture(first[0])
    if named and numbers[1:3] == [True, True] and numbers[3:] in ([], [False]):
        return list(WITHOUT_HEADING[: len(first)]), rows
    return None


def _refuse_longer(document: Document, heading: Sequence[str], rows: Sequence[Row]) -> None:
    """Refuse lines with more cells than have a heading: numbers with a comma make two of one."""
    headed = max((i for i, name in enumerate(heading, start=1) if name), default=0)
    for row in rows:
        if any(row.cells[headed:]):
            sign = row.separator
            raise document.error(
                str(row),
                f"has {len(row.cells)} cells, the first line {headed}: put a cell that holds "
                f"{sign!r} into quotes" + ", or semicolons between cells" * (sign == ","),
            )


def _parted(heading: str) -> tuple[str, str]:
    """A heading's plain name, and the unit that it says."""
    name = plain(heading)
    unit, before = UNIT.search(name), UNIT_BEFORE.match(name)
    if unit and unit.start():
        return name[: unit.start()], unit.lastgroup or ""
    return (name[before.end() :], before.lastgroup or "") if before else (name, "")


def _file_column(rows: Sequence[Row], names: Sequence[str], others: Sequence[int]) -> int | None:
    """The column with most names of pictures, or called like one of files."""
    ranks = [(sum(is_picture(_cell(row, i)) for row in rows), i) for i in others]
    count, column = max(ranks, default=(0, 0), key=lambda rank: (rank[0], -rank[1]))
    if count:
        return column
    files = FILE_HEADINGS - {"id", "name"}
    return next((i for i in others if names[i] in files), None)


def _class_column(rows: Sequence[Row], names: Sequence[str], others: Sequence[int]) -> int | None:
    """The column that is called like one of classes, or the only one of words."""
    called = [i for key in CLASS_KEYS for i in others if names[i] == key]
    words = [i for i in others if any(as_number(_cell(row, i)) is None for row in rows)]
    return next(iter(called or (words if len(words) == 1 else ())), None)


def _cell(row: Row, column: int) -> str:
    return row.cells[column] if column < len(row.cells) else ""


def _number(document: Document, heading: Sequence[str], row: Row, column: int) -> float:
    cell, name = _cell(row, column).rstrip("% "), heading[column]
    if column >= len(row.cells):
        raise document.error(str(row), f"has {len(row.cells)} cells, none of them for {name!r}")
    if row.separator == "," and THOUSANDS.fullmatch(cell):
        raise document.error(
            str(row),
            f"{name!r} is {cell!r}, of which the comma may part thousands or decimals: write "
            f"{cell.replace(',', '')} or {cell.replace(',', '.')}",
        )
    return document.number(cell, str(row), name)


def _label(row: Row, column: int | None) -> str | None:
    return None if column is None else as_label(_cell(row, column))


NAPARI = Format("napari", "napari points", claims_napari, read_napari)
TABLES = tuple(
    Format(
        f"table{f'-{unit}' * bool(unit)}",
        "table of points",
        claims_table,
        partial(read_table, unit=unit),
    )
    for unit in ("", *PER_SIDE)
)
