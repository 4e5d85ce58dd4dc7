"""What an export of an annotation tool says, in one form for all tools, and checks that readers
share.

Coordinates are (x, y). In pixels, the center of the first pixel is (0, 0), as everywhere in this
project; tools that count from its outer corner give ``CORNER`` more. In parts of the sides, 0 and
``per_side`` are the outer edges of the picture.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from bestie_d2.data.images import Size
from bestie_d2.data.labels.coco_json import whole_number
from bestie_d2.data.names import stem_of
from bestie_d2.errors import InputError

CORNER = 0.5  # pixels from the outer corner of the first pixel to its center
POINT, BOX, CIRCLE, ELLIPSE = "point", "box", "circle", "ellipse"  # kinds that have a center
POLYGON = "polygon"
EXACT = 15  # digits that a float holds of any number
PIXELS, FRACTIONS, PERCENT = None, 1.0, 100.0  # per_side
# Names of attributes and columns that say the class.
CLASS_KEYS = (
    *("class", "label", "category", "type", "name", "species", "object", "tag", "tags"),
    *("classname", "labelname", "celltype", "classes", "labels", "classid", "labelid"),
)
WORDS = "cell_?counter|roiset|rois?|points?|markers?|annotations?|labels?"
AROUND = re.compile(f"(?i)^({WORDS})[ _-]+|[ _-]+({WORDS})$")  # the image's name in a file's


class Shape(NamedTuple):
    """Something drawn on an image; ``label`` is its class, None if it has none, and ``kind`` a word
    for it. x and y of other shapes than those with a center mean nothing. ``where`` it stands, as
    text or what becomes one, is for messages; where the image does if empty."""

    kind: str
    label: str | None
    x: float = math.nan
    y: float = math.nan
    where: object = ""


@dataclass
class LabeledImage:
    """What an export says of one image.

    Attributes:
        names: what it may be called, the likeliest first; paths of other machines are fine.
        where: for messages.
        size: (height, width) of the picture that was drawn on, where the export says it.
        per_side: what coordinates count along a side; None for pixels.
        unsure: that ``per_side`` was not said and may be percent as well.
        by_file: that nothing but the file's own name says which image it is.
        tags: classes of the whole image.
    """

    names: tuple[str, ...]
    where: str
    size: Size | None = None
    shapes: list[Shape] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    per_side: float | None = PIXELS
    unsure: bool = False
    by_file: bool = False


@dataclass
class Export:
    """All that was read: the images; the classes that the export declares, in its order, with the
    kind of label that each is for ("" for any); counts of what was left out, by reason; remarks."""

    images: list[LabeledImage] = field(default_factory=list)
    declared: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, count: int = 1) -> None:
        if count:
            self.left_out[reason] += count

    def left_lines(self) -> list[str]:
        return [f"left out: {count} {reason}" for reason, count in self.left_out.items()]


@dataclass(frozen=True)
class Document:
    """A file of an export: ``path`` for messages, ``name`` of the file alone, and its content: a
    JSON value, the root of an XML, rows of a table, or the bytes of an ImageJ ROI. ``group`` is the
    name of the archive that it came from, "" if it came from none."""

    path: str
    name: str
    content: Any
    group: str = ""

    def error(self, where: str, problem: str) -> InputError:
        return InputError(f"{self.path}: {where}: {problem}")

    def image(self, **given: Any) -> LabeledImage:
        """The image that the file is called like, or the archive of a set of selections."""
        stem = stem_of(self.group if self.group and isinstance(self.content, bytes) else self.name)
        names = dict.fromkeys((stem, AROUND.sub("", stem) or stem, stem_of(stem)))
        return LabeledImage(tuple(names), f"image {stem}", by_file=True, **given)

    def number(self, value: object, where: str, key: str) -> float:
        """A finite number, as such or as text."""
        found = as_number(value)
        if found is None:
            raise self.error(where, f"{key!r} is {_short(value)}, expected a number")
        return found

    def members(self, value: object, where: str) -> Mapping:
        if not isinstance(value, Mapping):
            raise self.error(where, f"is {_short(value)}, expected an object")
        return value

    def items(self, value: object, where: str) -> list:
        """A list; nothing at all counts as an empty one."""
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(where, f"is {_short(value)}, expected a list")
        return value

    def text(self, value: object, where: str, key: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.error(where, f"{key!r} is {_short(value)}, expected text")
        return value

    def pair(self, value: object, where: str) -> tuple[float, float]:
        """(x, y) of a list of at least two numbers."""
        if not isinstance(value, list) or len(value) < 2:
            raise self.error(where, f"a point is {_short(value)}, expected [x, y]")
        return self.number(value[0], where, "x"), self.number(value[1], where, "y")

    def box(self, value: object, where: str, key: str) -> list[float]:
        """Left, top, width and height."""
        numbers = [self.number(n, where, key) for n in self.items(value, f"{where}, {key!r}")]
        if len(numbers) != 4 or min(numbers[2:]) < 0:
            raise self.error(
                where,
                f"{key!r} is {_short(value)}, expected [left, top, width, height], of which the "
                "last two are not below 0",
            )
        return numbers

    def size(
        self, stated: Mapping | Element, where: str, height: str = "height", width: str = "width"
    ) -> Size | None:
        """(height, width) of a picture, by these keys; None where they are not both there."""
        sides = {key: stated.get(key) for key in (height, width)}
        pixels = [whole_number(side) or 0 for side in sides.values()]
        for side, (key, value) in zip(pixels, sides.items(), strict=True):
            if value is not None and side <= 0:
                raise self.error(where, f"{key!r} is {_short(value)}, expected pixels, 1 or more")
        return (pixels[0], pixels[1]) if all(pixels) else None


@dataclass(frozen=True)
class Format:
    """A format: its name for ``--from``, what people call it, whether a document is in it, and how
    one is added to an export."""

    name: str
    title: str
    claims: Callable[[Document], bool]
    read: Callable[[Document, Export], None]


def as_number(value: object) -> float | None:
    """A number, or a text that is one, also with a decimal comma; None if it is not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def class_of(attributes: Mapping[str, object]) -> str | None:
    """The class that attributes say: that of the only one, or of one that is called so. Of several
    options that can be ticked, the first."""
    by_key = {plain(key): value for key, value in attributes.items()}
    named = [by_key[key] for key in CLASS_KEYS if key in by_key]
    value = next(iter(named or (by_key.values() if len(by_key) == 1 else ())), None)
    if isinstance(value, Mapping):
        value = next((option for option, ticked in value.items() if ticked), None)
    return as_label(value)


def as_label(value: object) -> str | None:
    """A class name; numbers are names as well, and nothing but blanks is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value) if isinstance(value, int) else f"{value:.{EXACT}g}"
    return value.strip() or None if isinstance(value, str) else None


def plain(key: str) -> str:
    """A heading or key in small letters without what parts its words."""
    return "".join(sign for sign in key.casefold() if sign not in " _.-")


def is_root(content: object, tag: str) -> bool:
    return isinstance(content, Element) and content.tag == tag


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
