"""Label Studio: JSON (tasks with annotations, also one a file) and JSON_MIN.

Coordinates are percent of the sides of the picture as a browser shows it, its EXIF turn done, from
the outer corner (https://labelstud.io/guide/export, "Units of image annotations"; KeyPointLabels
and RectangleLabels in its tag reference). ``image_rotation`` says how the annotator had turned the
view and changes no coordinate: the editor takes the turn of its stage back before it stores one
(label-studio-frontend, ``fixZoomedCoords``). An uploaded file is stored as eight hexadecimal digits
and its name; cancelled ("skipped") annotations and predictions are no annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import cos, radians, sin
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from bestie_d2.data.labels.annotation_tools.exports import (
    BOX,
    ELLIPSE,
    PERCENT,
    POINT,
    Document,
    Export,
    Format,
    LabeledImage,
    Shape,
    as_label,
)
from bestie_d2.data.names import IMAGE_SUFFIXES

ANNOTATIONS = ("annotations", "completions")  # the second until 2021
KINDS = {"keypoint": POINT, "rectangle": BOX, "ellipse": ELLIPSE}
OF_MIN = ("annotation_id", "annotator", "lead_time")  # of a record of JSON_MIN
NO_CONTROLS = ("id", "created_at", "updated_at", *OF_MIN)
SIZE = ("original_height", "original_width")
KEYPOINTS = "keypointlabels"
TAGS = ("choices", "choice")


class Result(NamedTuple):
    """What an annotator did with a control: its type (such as "keypointlabels"), what it gave, the
    region that it belongs to, and the size of the picture."""

    type: str
    value: Mapping
    region: object
    size: tuple[int, int] | None


def claims(document: Document) -> bool:
    tasks, known = _tasks(document.content), {*ANNOTATIONS, "predictions"}
    return all(isinstance(task, Mapping) for task in tasks) and any(
        (_is_full(task) and task.keys() & known) or _is_min(task) for task in tasks
    )


def read(document: Document, export: Export) -> None:
    newest: dict[object, Mapping] = {}  # of JSON_MIN, where each annotation is a record
    for number, task in enumerate(_tasks(document.content)):
        if _is_full(task):
            _read_task(document, export, task, f"task {task.get('id', number)}")
            continue
        key = task.get("id", f"record {number}")
        other = newest.get(repr(key))
        export.leave_out("annotations of a task that has a newer one", other is not None)
        if other is None or str(task.get("updated_at")) >= str(other.get("updated_at")):
            newest[repr(key)] = task
    for number, task in enumerate(newest.values()):
        where = f"task {task.get('id', number)}"
        _add(export, document, where, task, _results_of_min(document, task, where))


def _tasks(content: object) -> list:
    if isinstance(content, Mapping):
        task = content.get("task")
        if isinstance(task, Mapping) and "result" in content:  # one annotation a file
            content = {**task, "annotations": [content]}
        return [content]
    return content if isinstance(content, list) else []


def _is_full(task: Mapping) -> bool:
    return isinstance(task.get("data"), Mapping)


def _is_min(task: Mapping) -> bool:
    if any(key in task for key in OF_MIN):
        return True
    values = (v for value in task.values() if isinstance(value, list) for v in value)
    return any(isinstance(v, Mapping) and ("original_width" in v or KEYPOINTS in v) for v in values)


def _read_task(document: Document, export: Export, task: Mapping, where: str) -> None:
    key = next((key for key in ANNOTATIONS if task.get(key)), ANNOTATIONS[0])
    found = [document.members(a, where) for a in document.items(task.get(key), where)]
    export.leave_out("predictions", len(task.get("predictions") or ()))
    counted = [a for a in found if not (a.get("was_cancelled") or a.get("skipped"))]
    export.leave_out("cancelled annotations", len(found) - len(counted))
    if not counted:
        export.leave_out("tasks without an annotation")
        return
    export.leave_out("annotations of a task that has a newer one", len(counted) - 1)
    last = max(counted, key=lambda a: (a.get("ground_truth") is True, _time_of(a)))
    results = document.items(last.get("result"), where)
    read = [_result(document, document.members(result, where), where) for result in results]
    _add(export, document, where, task, filter(None, read))


def _time_of(annotation: Mapping) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _result(document: Document, result: Mapping, where: str) -> Result | None:
    if "value" not in result:  # a relation between regions
        return None
    value = document.members(result["value"], f"{where}, value")
    size = document.size(result, where, *SIZE)
    kind = str(result.get("type", ""))
    if result.get("item_index"):  # of a task with several pictures
        kind = "further picture"
    return Result(kind.lower(), value, result.get("id"), size)


def _results_of_min(document: Document, task: Mapping, where: str) -> Iterator[Result]:
    """The record is the task's data, its id, the results by control, then who made them when."""
    keys = [key for key in task if key not in NO_CONTROLS]
    words = [key for key in keys if isinstance(task[key], str) and not _is_address(task[key])]
    order = [*task]
    behind = [key for key in words if "id" in task and order.index(key) > order.index("id")]
    for key in behind or words:
        yield Result("choices", {"choices": [task[key]]}, None, None)
    for given in (task[key] for key in keys):
        if isinstance(given, Mapping) and isinstance(given.get("choices"), list):
            yield Result("choices", {"choices": given["choices"]}, None, None)
        for value in given if isinstance(given, list) else ():
            if isinstance(value, Mapping):
                key = next((k for k in value if k.endswith("labels")), "")
                kind = str(value.get("type") or key).lower()
                place = (value.get("x"), value.get("y")) if "x" in value else None
                size = document.size(value, where, *SIZE)
                yield Result(kind, value, repr(place) if place else None, size)


def _add(
    export: Export, document: Document, where: str, task: Mapping, results: Iterable[Result]
) -> None:
    source = task["data"] if isinstance(task.get("data"), Mapping) else task
    image = LabeledImage(_names(document, source, task, where), where, per_side=PERCENT)
    shapes: dict[object, Shape] = {}
    for number, result in enumerate(results):
        image.size = image.size or result.size
        label = _label(result.value)
        if "x" not in result.value and any(key in result.value for key in TAGS):
            chosen = result.value.get("choices", result.value.get("choice"))
            chosen = chosen if isinstance(chosen, list) else [chosen]
            image.tags += filter(None, map(as_label, chosen))
            continue
        shape = _shape(document, result, f"{where}, result {number}", label)
        key = number if result.region is None else repr(result.region)
        other = shapes.get(key)  # a region may have a result for its place and one for its class
        shapes[key] = shape if other is None else _united(other, shape)
    image.shapes = list(shapes.values())
    export.images.append(image)


def _united(one: Shape, other: Shape) -> Shape:
    first = one if one.x == one.x or other.x != other.x else other  # that has a place
    return first._replace(label=one.label or other.label)


def _label(value: Mapping) -> str | None:
    keys = [key for key in value if key.endswith("labels")] + [key for key in TAGS if key in value]
    given = next((value[key] for key in keys if value[key]), None)
    return as_label(given[0] if isinstance(given, list) else given)


def _shape(document: Document, result: Result, where: str, label: str | None) -> Shape:
    value = result.value
    word = next((word for word in KINDS if result.type.startswith(word)), None)
    if word is None and "x" in value and "points" not in value:  # "labels": of any region
        word = "rectangle" if "height" in value else "keypoint"
    if word is None:
        return Shape(result.type.removesuffix("labels") or "result", label)
    x, y = (document.number(value.get(key), where, key) for key in "xy")
    if word == "rectangle":
        sides = [value.get(key) for key in ("x", "y", "width", "height")]
        _, _, width, height = document.box(sides, where, "rectangle")
        turn = radians(document.number(value.get("rotation") or 0, where, "rotation"))
        rows, columns = result.size or (1, 1)  # a box turns about its corner, in pixels
        across, down = width * columns / 2, height * rows / 2
        x += (across * cos(turn) - down * sin(turn)) / columns
        y += (across * sin(turn) + down * cos(turn)) / rows
    return Shape(KINDS[word], label, x, y, where)


# -- names


def _names(document: Document, data: Mapping, task: Mapping, where: str) -> tuple[str, ...]:
    upload = task.get("file_upload")
    given = [value for value in data.values() if isinstance(value, str)]
    given = [value for value in given if _is_address(value)] or [
        data[key] for key in ("image", "img") if isinstance(data.get(key), str)
    ]
    several = (v for value in data.values() if isinstance(value, list) for v in value)
    given += [v for v in several if isinstance(v, str) and _is_address(v)][:1]  # their first
    if isinstance(upload, str) and _is_address(upload):  # else the file of tasks was uploaded
        given.append(upload)
    if not given:
        raise document.error(where, "'data' names no picture")
    return tuple(map(path_of, given))


def _is_address(value: object) -> bool:
    return isinstance(value, str) and path_of(value).lower().endswith(IMAGE_SUFFIXES)


def path_of(address: str) -> str:
    """The path in an address (``/data/local-files/?d=a/b.png``, ``s3://bucket/b.png?...``)."""
    if "://" not in address and "?" not in address:
        return unquote(address) if address.startswith("/data/") else address
    try:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d")
    except ValueError:  # brackets that are none of an address
        return address
    return local[0] if local else unquote(parts.path)


LABEL_STUDIO = Format("label-studio", "Label Studio", claims, read)
