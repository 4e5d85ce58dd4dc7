"""Scenes of the synthetic set, their truth, and weak labels as imperfect as real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bestie_d2.data.datasets.shapes_drawing import (
    BODY_COLORS,
    draw_background,
    draw_shape,
    to_bytes,
    value_noise,
)
from bestie_d2.data.datasets.shapes_geometry import (
    CLASSES,
    IMAGE_SIZE,
    XS,
    YS,
    Shape,
    random_direction,
)

OBJECT_COUNTS = (1, 2, 3, 3, 4, 4, 5, 6)  # equally likely
MAX_CLASSES = 3
RADIUS = (9.0, 23.0)  # pixels
BORDER = 0.85  # radii between a center and the image's border, at least
COMPANION_CHANCE = 0.42  # that an object touches an earlier one of its class
COMPANION_REACH = (0.62, 0.86)  # distance of the two centers, of the sum of their radii
STRANGER_REACH = 0.85  # the same between classes, at least
CLASSMATE_GAP = 7.0  # pixels between objects of a class that do not touch, at least
MIN_VISIBLE = 0.6  # share of an object that others leave in sight
PLACING_TRIES = 60

WOBBLE_CELLS, WOBBLE_PIXELS = 9, 7.0  # of the weak map's borders
MISSED_CELLS, MISSED_BELOW = 11, 0.12
CUE_CHANCES = (0.06, 0.05)  # of no cue and of two cues for an object
CUE_JITTER = 2.0  # pixels around the emblem
CUE_SCORES = (0.5, 1.0)
POINT_JITTER = 0.2  # radii around the centroid

Cue = tuple[int, int, int, float]  # x, y, class, score: the order of files


@dataclass(frozen=True)
class Scene:
    """One image and the whole truth about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        shapes: the objects, later ones in front.
        instances: (H, W) int, 0 background, n + 1 the visible part of ``shapes[n]``.
    """

    image: np.ndarray
    shapes: list[Shape]
    instances: np.ndarray

    def semantic(self) -> np.ndarray:
        """(H, W) uint8 WSSS indices of the truth."""
        lookup = np.array([0, *(shape.label + 1 for shape in self.shapes)], np.uint8)
        return lookup[self.instances]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Place the objects and paint them over a background."""
    shapes, instances = _place_shapes(rng)
    image = draw_background(rng)
    for shape in shapes:
        draw_shape(image, shape)
    return Scene(to_bytes(rng, image), shapes, instances)


def _place_shapes(rng: np.random.Generator) -> tuple[list[Shape], np.ndarray]:
    labels = rng.permutation(len(CLASSES))[: rng.integers(1, MAX_CLASSES + 1)]
    shapes: list[Shape] = []
    instances = np.zeros((IMAGE_SIZE, IMAGE_SIZE), int)
    for _ in range(OBJECT_COUNTS[rng.integers(len(OBJECT_COUNTS))]):
        for _ in range(PLACING_TRIES):
            shape = _propose(rng, labels, shapes)
            drawn = np.where(shape.mask(), len(shapes) + 1, instances)
            if _fits(shape, shapes) and _all_visible([*shapes, shape], drawn):
                shapes.append(shape)
                instances = drawn
                break
    return shapes, instances


def _propose(rng: np.random.Generator, labels: np.ndarray, shapes: list[Shape]) -> Shape:
    radius = _between(rng, RADIUS)
    label = int(labels[rng.integers(len(labels))])
    y, x = BORDER * radius + rng.random(2) * (IMAGE_SIZE - 1 - 2 * BORDER * radius)
    classmates = [shape for shape in shapes if shape.label == label]
    if classmates and rng.random() < COMPANION_CHANCE:
        mate = classmates[rng.integers(len(classmates))]
        reach = _between(rng, COMPANION_REACH) * (radius + mate.radius)
        cos, sin = random_direction(rng)
        y, x = mate.y + reach * sin, mate.x + reach * cos
    color = int(rng.integers(len(BODY_COLORS)))
    return Shape(label, float(y), float(x), radius, random_direction(rng), color)


def _fits(shape: Shape, shapes: list[Shape]) -> bool:
    """Inside the image, clear of other classes, and touching its own class or well away from it."""
    margin = BORDER * shape.radius
    if not all(margin <= at <= IMAGE_SIZE - 1 - margin for at in (shape.y, shape.x)):
        return False
    for other in shapes:
        distance = _distance(shape, other)
        reach = shape.radius + other.radius
        if shape.label != other.label:
            if distance < STRANGER_REACH * reach:
                return False
        elif not (
            COMPANION_REACH[0] * reach <= distance <= COMPANION_REACH[1] * reach
            or distance >= reach + CLASSMATE_GAP
        ):
            return False
    return True


def _all_visible(shapes: list[Shape], instances: np.ndarray) -> bool:
    for number, shape in enumerate(shapes, start=1):
        visible = instances == number
        y, x = (_to_pixel(at) for at in shape.emblem_yx)
        if not visible[y, x] or visible.sum() < MIN_VISIBLE * shape.mask().sum():
            return False
    return True


# -- weak labels


def weaken_map(rng: np.random.Generator, semantic: np.ndarray) -> np.ndarray:
    """(H, W) uint8 WSSS indices with wobbly borders and missed pieces."""
    dy, dx = (WOBBLE_PIXELS * (value_noise(rng, WOBBLE_CELLS) - 0.5) for _ in range(2))
    ys, xs = (np.clip(np.round(at), 0, IMAGE_SIZE - 1).astype(int) for at in (YS + dy, XS + dx))
    weak = semantic[ys, xs]
    weak[value_noise(rng, MISSED_CELLS) < MISSED_BELOW] = 0
    return weak


def simulate_cues(rng: np.random.Generator, scene: Scene) -> list[Cue]:
    """Cues as a classifier gives them: most objects one near the emblem, some none or two."""
    cues = []
    for number, shape in enumerate(scene.shapes, start=1):
        none, two = CUE_CHANCES
        chance = rng.random()
        if chance < none:
            continue
        cues.append(_cue(rng, *shape.emblem_yx, shape.label))
        if chance > 1 - two:
            cues.append(_cue(rng, *_centroid(scene.instances == number), shape.label))
    return cues


def _cue(rng: np.random.Generator, y: float, x: float, label: int) -> Cue:
    jitter = CUE_JITTER * (2 * rng.random(2) - 1)
    low, high = CUE_SCORES
    score = low + (high - low) * max(rng.random(3))
    return _to_pixel(x + jitter[0]), _to_pixel(y + jitter[1]), label, round(float(score), 3)


def pick_points(rng: np.random.Generator, scene: Scene) -> list[Cue]:
    """One point in the visible part of each object, near its centroid, as a person would click."""
    points = []
    for number, shape in enumerate(scene.shapes, start=1):
        visible = scene.instances == number
        y, x = _centroid(visible) + POINT_JITTER * shape.radius * (2 * rng.random(2) - 1)
        distance = np.where(visible, (YS - y) * (YS - y) + (XS - x) * (XS - x), np.inf)
        row, column = divmod(int(distance.argmin()), IMAGE_SIZE)
        points.append((column, row, shape.label, 1.0))
    return points


def _between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(limits[0] + rng.random() * (limits[1] - limits[0]))


def _distance(first: Shape, second: Shape) -> float:
    dy, dx = first.y - second.y, first.x - second.x
    return float(np.sqrt(dy * dy + dx * dx))


def _centroid(mask: np.ndarray) -> np.ndarray:
    """(y, x) mean; sums of whole numbers, thus exact."""
    return np.array([axis.sum() / len(axis) for axis in mask.nonzero()])


def _to_pixel(at: float) -> int:
    return int(min(max(round(float(at)), 0), IMAGE_SIZE - 1))
