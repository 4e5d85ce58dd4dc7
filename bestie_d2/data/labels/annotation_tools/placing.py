"""From an export to this project's lists: images found, coordinates in pixels of the picture as it
is shown, classes numbered, and a word on all that was left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

from tqdm import tqdm

from bestie_d2.data.images import MIRRORED, OVERTURNED, SIDEWAYS, Size
from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    CIRCLE,
    CORNER,
    ELLIPSE,
    PERCENT,
    POINT,
    Export,
    LabeledImage,
    Shape,
)
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.names import stem_of
from bestie_d2.errors import InputError

POINTS, TAGS = "points", "tags"
CENTERED = (BOX, CIRCLE, ELLIPSE)
ONLY_CLASS = "object"  # where nothing has a class
DECLARED_FOR = {POINTS: ("", "any", "points"), TAGS: ("", "any", "tag")}  # CVAT's types of labels
SAID = "said"  # of a point
DIGITS = 3  # of coordinates: a thousandth of a pixel
ASPECT = 0.02  # part of a side: two sizes of one picture, scaled and rounded, differ by less
PATIENCE = 2.0  # seconds before a progress bar is shown
STRAY = 0.1  # share of points that may be outside by mistake
ENOUGH = 1e-6  # chance that points all lie in the first 100 pixels of their pictures for no reason


def lists_of(
    path: str, export: Export, pictures: Pictures, kind: str, classes: Sequence[str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """``images``, ``categories`` and ``points`` (or ``annotations``, of tags) as this project's
    files have them; images and points are sorted. What is left out is counted in the export. Of a
    point outside of its picture that was in parts of the sides, ``SAID`` has what the export says.

    Args:
        kind: ``POINTS``, or ``TAGS``: those of images or, if none has any, of what is drawn.
        classes: all that there are, in order; else the declared ones, then others by the alphabet.

    Raises:
        InputError: no picture is found, two images are one picture, a size that is not the
            picture's, nothing of the kind, a class that is not among ``classes``, or a table that
            can be in percent or have x and y exchanged.
    """
    placed = _matched(path, export, pictures, alone=kind == POINTS)
    (_choose_points if kind == POINTS else _choose_tags)(path, export)
    names = _classes(path, export, kind, classes)
    index = {name: number for number, name in enumerate(names, start=1)}
    lists: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "categories": [{"id": number, "name": name} for name, number in index.items()],
        (found := "points" if kind == POINTS else "annotations"): [],
    }
    sizes = _sizes(placed, pictures)
    if kind == POINTS:
        _settle_units(path, export, placed, sizes)
    for image_id, (picture, images) in enumerate(sorted(placed.items()), start=1):
        entry: dict[str, Any] = {"id": image_id, "file_name": picture}
        if picture in sizes:
            entry |= zip(("height", "width"), sizes[picture], strict=True)
        lists["images"].append(entry)
        if kind == TAGS:
            tags = sorted({index[tag] for image in images for tag in image.tags})
            lists[found] += [{"image_id": image_id, "category_id": tag} for tag in tags]
            continue
        marks: list[tuple[int, float, float, str]] = []
        for image in images:
            move = _Placer(path, image, picture, pictures, sizes.get(picture))
            marks += [(index[str(shape.label)], *move(shape)) for shape in image.shapes]
        for class_id, y, x, said in sorted(marks):
            point: dict[str, Any] = {"image_id": image_id, "category_id": class_id, "point": [x, y]}
            lists[found].append(point | ({SAID: said} if said else {}))
    return lists


def only_tags(export: Export) -> bool:
    """Whether images have tags, while nothing is a point or has a center that can stand for one."""
    shapes = (shape for image in export.images for shape in image.shapes)
    centers = any(shape.kind in (POINT, *CENTERED) for shape in shapes)
    return not centers and any(image.tags for image in export.images)


# -- which labels count


def _choose_points(path: str, export: Export) -> None:
    """Leave points with a class alone in the images, or centers where there are no points."""
    kinds = {shape.kind for image in export.images for shape in image.shapes}
    chosen = [POINT] if POINT in kinds else [kind for kind in CENTERED if kind in kinds]
    shapes = [s for image in export.images for s in image.shapes]
    if not chosen and (shapes or any(image.tags for image in export.images)):
        there = ", ".join(sorted(kinds)) or "tags of images alone"
        raise InputError(f"{path}: no points in it, but {there}; as tags their classes can be had")
    if not chosen:
        lines = [f"nothing is drawn on any of its {len(export.images)} images"]
        raise InputError(f"{path}: {'; '.join(lines + export.left_lines())}")
    for shape in shapes:
        export.leave_out(f"{_plural(shape.kind)}, which are no points", shape.kind not in chosen)
    count = sum(shape.kind in chosen for shape in shapes)
    if chosen != [POINT]:
        export.remarks.append(
            f"no points but {count} {' and '.join(_plural(k) for k in chosen)}: their centers are "
            "taken for points"
        )
    labeled = any(shape.label for shape in shapes if shape.kind in chosen)
    if not labeled:
        export.remarks.append(f"no point has a class: all are called {ONLY_CLASS!r}")
    for image in export.images:
        kept = [shape for shape in image.shapes if shape.kind in chosen]
        if labeled:
            export.leave_out("points without a class", sum(not shape.label for shape in kept))
            kept = [shape for shape in kept if shape.label]
        image.shapes = [shape._replace(label=shape.label or ONLY_CLASS) for shape in kept]


def _choose_tags(path: str, export: Export) -> None:
    """Take the classes of what is drawn for tags, where no image has any."""
    if any(image.tags for image in export.images):
        return
    for image in export.images:
        image.tags = [shape.label for shape in image.shapes if shape.label]
    if not any(image.tags for image in export.images):
        raise InputError(f"{path}: {'; '.join(['no tags in it', *export.left_lines()])}")
    export.remarks.append("no tags of images: the classes of what is drawn are taken for tags")


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("x") else f"{kind}s"


def _classes(path: str, export: Export, kind: str, classes: Sequence[str] | None) -> list[str]:
    found = {str(s.label) for image in export.images for s in image.shapes if kind == POINTS}
    found |= {tag for image in export.images for tag in image.tags if kind == TAGS}
    unknown = sorted(found - set(classes or found))
    if unknown:
        raise InputError(
            f"{path}: {unknown[0]!r} is none of the classes asked for ({', '.join(classes or ())})"
        )
    declared = [
        name
        for name, what in export.declared.items()
        if name in found or what in DECLARED_FOR[kind]
    ]
    return list(classes or [*declared, *sorted(found - set(declared))])


# -- where they belong


def _matched(
    path: str, export: Export, pictures: Pictures, *, alone: bool
) -> dict[str, list[LabeledImage]]:
    """The images of each picture that is found, of which one at most has shapes if it is to be
    ``alone``; the others are counted."""
    matched = pictures.match([image.names for image in export.images])
    if matched == [None] and export.images[0].by_file and len(pictures.paths) == 1:
        matched = [*pictures.paths]
        export.remarks.append(f"it names no picture, and is taken for that of {matched[0]}")
    placed: dict[str, list[LabeledImage]] = defaultdict(list)
    missing = [i for i, picture in zip(export.images, matched, strict=True) if picture is None]
    for image, picture in zip(export.images, matched, strict=True):
        if picture is not None:
            if alone and placed[picture] and image.shapes and placed[picture][0].shapes:
                other = placed[picture][0]
                raise InputError(
                    f"{path}: {other.where} and {image.where} are both the picture {picture}"
                )
            placed[picture].append(image)
    if not export.images:
        lines = ["no image with labels in it", *export.left_lines()]
        raise InputError(f"{path}: {'; '.join(lines)}")
    _refuse_other_case(path, missing, [name for name in pictures.paths if name not in placed])
    first = f"first {missing[0].names[0]}" if missing else ""
    if missing and len(alike := pictures.called(missing[0].names[0])) > 1:
        first += f", which may be any of {', '.join(alike)}: without its folder nobody knows"
    if not placed:
        raise InputError(
            f"{path}: none of its {len(missing)} images is in {pictures.folder}; {first}"
        )
    export.leave_out(f"images that are not in {pictures.folder} ({first})", len(missing))
    export.images = [image for images in placed.values() for image in images]
    return dict(placed)


def _refuse_other_case(path: str, missing: Iterable[LabeledImage], left: Iterable[str]) -> None:
    by_case = {stem_of(name).casefold(): name for name in left}
    for image in missing:
        name = image.names[-1]
        alike = by_case.get(stem_of(name).casefold(), name)
        if stem_of(alike) != stem_of(name):
            raise InputError(
                f"{path}: {name} and the picture {alike} differ in upper and lower case alone: "
                "name them alike"
            )


def _sizes(placed: Iterable[str], pictures: Pictures) -> dict[str, Size]:
    """The size of each picture that can be read; the others are told of where they are used."""
    sizes = {}
    for picture in tqdm(placed, desc="sizes of pictures", unit="picture", delay=PATIENCE):
        with suppress(InputError):
            sizes[picture] = pictures.size(picture)
    return sizes


def _settle_units(
    path: str, export: Export, placed: dict[str, list[LabeledImage]], sizes: Mapping[str, Size]
) -> None:
    """Where a table may be in percent, it is if many points would lie outside as pixels, or if all
    are in the first 100 pixels of pictures so large that this is no chance. It is refused if as
    many lie outside, but none with x and y exchanged."""
    chance, outside, outside_exchanged, count, unsure = 1.0, 0, 0, 0, []
    for picture, images in placed.items():
        height, width = sizes.get(picture, (PERCENT, PERCENT))
        for image in images:
            unsure += [image] * image.unsure
            for shape in image.shapes if image.unsure else ():
                chance *= min(1.0, PERCENT / height) * min(1.0, PERCENT / width)
                outside += shape.x > width or shape.y > height
                outside_exchanged += shape.y > width or shape.x > height
                count += 1
    if outside > STRAY * count and not outside_exchanged:
        raise InputError(
            f"{path}: as pixels, {outside} of {count} points lie outside of their pictures, but "
            "none with x and y exchanged: exchange the headings, or, if x and y are in percent, "
            "head them 'x %' and 'y %' (--from table-percent; as they are: --from table-pixels)"
        )
    if unsure and (outside > STRAY * count or chance < ENOUGH):
        for image in unsure:
            image.per_side = PERCENT
        export.remarks.append(
            "all x and y are within 0 and 100: they are read as percent after all"
        )


class _Placer:
    """Brings the shapes of an image to (y, x) in pixels of its picture; of one outside that is in
    parts of the sides, with what the export says, else ""."""

    def __init__(
        self, path: str, image: LabeledImage, picture: str, pictures: Pictures, size: Size | None
    ) -> None:
        stated, self.per_side, self.orientation = image.size, image.per_side, 0
        if size is None:
            size = stated or (0, 0) if self.per_side is None else pictures.size(picture)  # raises
        self.size, self.where = size, image.where
        if stated is None or stated == size:
            return
        orientation = pictures.orientation(picture)
        if orientation in SIDEWAYS and stated == size[::-1]:  # labeled as it is stored
            self.size, self.orientation = stated, orientation
            return
        scaled = Fraction(stated[0] * size[1], stated[1] * size[0])
        if self.per_side is None or abs(scaled - 1) > ASPECT:
            raise InputError(
                f"{path}: {image.where} has {stated[0]}x{stated[1]} pixels (height x width), but "
                f"the picture {picture} has {size[0]}x{size[1]}"
            )

    def __call__(self, shape: Shape) -> tuple[float, float, str]:
        height, width = self.size
        x, y, said = shape.x, shape.y, ""
        if self.per_side is not None:
            if not (0 <= x <= self.per_side and 0 <= y <= self.per_side):
                said = f"{shape.where or self.where} has ({x:g}, {y:g}), expected 0 to "
                said += f"{self.per_side:g}"
            x, y = x / self.per_side * width - CORNER, y / self.per_side * height - CORNER
        if self.orientation:
            x, y, width, height = y, x, height, width
            x = width - 1 - x if self.orientation in MIRRORED else x
            y = height - 1 - y if self.orientation in OVERTURNED else y
        return round(y, DIGITS) + 0.0, round(x, DIGITS) + 0.0, said  # no -0.0
