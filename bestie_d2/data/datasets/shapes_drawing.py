"""Scenes of the synthetic set: four kinds of textured objects over mottled, cluttered ground.

Identity shows most in a small emblem (a fish's eye, a bug's head, a kite's gem, a flower's
heart), as a face does in an animal; body outline and texture differ too, body colors do not.

Legend: ``rng`` is a NumPy Generator; images are (H, W, 3) float RGB in [0, 1]; ``u``, ``v`` are an
object's coordinates in units of its radius. Only exactly rounded operations are used (no
trigonometry, no power), so that every machine draws the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

IMAGE_SIZE = 128
YS, XS = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(float)
EMBLEM_RADIUS, MIN_EMBLEM_PIXELS = 0.32, 3.0

BODY_COLORS = np.array([
    (0.91, 0.49, 0.42), (0.27, 0.62, 0.64), (0.66, 0.54, 0.80), (0.45, 0.69, 0.44),
    (0.36, 0.53, 0.80), (0.86, 0.56, 0.70), (0.80, 0.62, 0.42), (0.55, 0.60, 0.66),
])  # fmt: skip
GROUND_COLORS = np.array([
    (0.78, 0.74, 0.64), (0.60, 0.66, 0.58), (0.56, 0.60, 0.68), (0.72, 0.66, 0.68),
    (0.50, 0.53, 0.49), (0.80, 0.79, 0.75),
])  # fmt: skip
WHITE, INK, CRIMSON, GOLD, LEMON, AMBER = np.array([
    (0.98, 0.97, 0.94), (0.10, 0.10, 0.14), (0.80, 0.08, 0.16),
    (0.98, 0.76, 0.12), (0.99, 0.94, 0.35), (0.62, 0.30, 0.06),
])  # fmt: skip

SHADOW_SHIFT, SHADOW_SOFTNESS, SHADOW_STRENGTH = 0.12, 4.0, 0.30
RIM_STRENGTH, TEXTURE_STRENGTH, LIGHT_STRENGTH = 0.45, 0.22, 0.10
GROUND_RELIEF, GRAIN = 0.16, 0.05
CLUTTER_COUNT, CLUTTER_RADIUS = (10, 22), (1.5, 5.0)
CLUTTER_SATURATION, CLUTTER_STRENGTH, TWIG_LENGTH = 0.55, 0.8, 2.5

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

CLASSES = ("fish", "bug", "kite", "flower")
EMBLEM_AT = {"fish": (0.52, -0.08), "bug": (0.0, -0.62), "kite": (0.0, -0.12), "flower": (0.0, 0.0)}
Field = np.ndarray  # one value a pixel


def disc(u: Field, v: Field, radius: float) -> Field:
    return np.sqrt(u * u + v * v) - radius


def _outline(kind: str, u: Field, v: Field) -> Field:
    """About the signed distance to the border in radii, negative inside."""
    match kind:
        case "fish":
            body = disc((u - 0.14) / 0.84, v / 0.58, 1.0) * 0.58
            tail = np.maximum(np.maximum(-0.98 - u, u + 0.40), np.abs(v) + 0.75 * u + 0.18)
            return np.minimum(body, tail)
        case "bug":
            return np.minimum(disc(u, v - 0.20, 0.76), disc(u, v + 0.62, 0.36))
        case "kite":
            sides = np.where(v < -0.1, 0.85, 1.05)
            return (np.abs(u) / 0.80 + np.abs(v + 0.1) / sides - 1) * 0.62
        case _:
            radius = np.sqrt(u * u + v * v)
            cos = u / np.maximum(radius, 1e-6)
            square = cos * cos
            of_five = cos * (16 * square * square - 20 * square + 5)  # cosine of 5 times the angle
            return radius - (0.80 + 0.18 * of_five)


def _wave(field: Field) -> Field:
    """Triangle wave of period 1 between 0 and 1."""
    return np.abs(2 * (field - np.floor(field)) - 1)


def _texture(kind: str, u: Field, v: Field) -> Field:
    """Stripes, dots, quarters or rings, in [0, 1]."""
    match kind:
        case "fish":
            return (_wave(2.6 * u + 0.8 * v * v) > 0.5).astype(float)
        case "bug":
            dots = disc(_wave(1.6 * u) - 0.5, _wave(1.6 * v + 0.25) - 0.5, 0.30)
            return (dots < 0).astype(float)
        case "kite":
            return ((u > 0) ^ (v + 0.12 > 0)).astype(float)
        case _:
            return _wave(2.2 * np.sqrt(u * u + v * v))


def _emblem(kind: str, u: Field, v: Field, size: float) -> list[tuple[Field, np.ndarray]]:
    """Distance to the border, and color, of each layer; the first is undermost."""
    whole = disc(u, v, size)
    match kind:
        case "fish":
            return [(whole, WHITE), (disc(u - 0.15 * size, v, 0.55 * size), INK)]
        case "bug":
            eyes = disc(np.abs(u) - 0.45 * size, v + 0.15 * size, 0.30 * size)
            return [(whole, INK), (eyes, LEMON)]
        case "kite":
            return [(whole, WHITE), (0.7 * (np.abs(u) + np.abs(v) - 0.95 * size), CRIMSON)]
        case _:
            return [(whole, GOLD), (disc(u, v, 0.50 * size), AMBER)]


@dataclass(frozen=True)
class Shape:
    """One object: class index, center (y, x) and radius in pixels, unit direction of its u axis."""

    label: int
    y: float
    x: float
    radius: float
    direction: tuple[float, float]
    color: int

    @property
    def kind(self) -> str:
        return CLASSES[self.label]

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """The part of the image that the object and its shadow can reach."""
        return _window_around(self.y, self.x, 1.5 * self.radius)

    def to_local(self, shift: float = 0.0) -> tuple[Field, Field]:
        """u, v of the window's pixels; ``shift`` moves the object down and right, in radii."""
        dx, dy = (XS[self.window] - self.x) / self.radius, (YS[self.window] - self.y) / self.radius
        return _turn(dx - shift, dy - shift, self.direction)

    @property
    def emblem_yx(self) -> tuple[float, float]:
        """Center of the emblem in image pixels."""
        (u, v), (cos, sin) = EMBLEM_AT[self.kind], self.direction
        y, x = self.radius * (sin * u + cos * v), self.radius * (cos * u - sin * v)
        return self.y + y, self.x + x

    @cached_property
    def mask(self) -> np.ndarray:
        """(H, W) bool, the pixels of the object if nothing hid it."""
        mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
        mask[self.window] = _outline(self.kind, *self.to_local()) < 0
        return mask


def _window_around(y: float, x: float, reach: float) -> tuple[slice, slice]:
    """The square of half side ``reach`` pixels, cut at the image's border."""
    rows, columns = (
        slice(*np.clip((int(at - reach), int(at + reach) + 2), 0, IMAGE_SIZE)) for at in (y, x)
    )
    return rows, columns


def _turn(dx: Field, dy: Field, direction: tuple[float, float]) -> tuple[Field, Field]:
    """Coordinates along ``direction`` (cos, sin) and across it."""
    cos, sin = direction
    return cos * dx + sin * dy, cos * dy - sin * dx


def random_direction(rng: np.random.Generator) -> tuple[float, float]:
    """A (cos, sin) pair, made without trigonometry."""
    half = 2 * rng.random() - 1
    cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    return ((cos, sin), (sin, cos), (-cos, sin), (sin, -cos))[rng.integers(4)]


def between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(limits[0] + rng.random() * (limits[1] - limits[0]))


def value_noise(rng: np.random.Generator, cells: int) -> Field:
    """(H, W) smooth noise in [0, 1] with ``cells`` random values a side."""
    grid = rng.random((cells + 1, cells + 1))
    position = (np.arange(IMAGE_SIZE) + 0.5) * (cells / IMAGE_SIZE)
    index = position.astype(int)
    part = position - index
    part = part * part * (3 - 2 * part)
    rows = grid[index] * (1 - part)[:, None] + grid[index + 1] * part[:, None]
    return rows[:, index] * (1 - part) + rows[:, index + 1] * part


def to_pixel(at: float) -> int:
    """The nearest pixel inside the image."""
    return int(min(max(round(float(at)), 0), IMAGE_SIZE - 1))


# -- scenes


@dataclass(frozen=True)
class Scene:
    """One image and the whole truth about it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    shapes: list[Shape]  # later ones in front
    instances: np.ndarray  # (H, W) int, 0 background, n + 1 the visible part of shapes[n]

    def visible(self) -> list[tuple[Shape, np.ndarray]]:
        """Each object with the (H, W) bool mask of what others leave in sight."""
        return [(shape, self.instances == n) for n, shape in enumerate(self.shapes, start=1)]

    def semantic(self) -> np.ndarray:
        """(H, W) uint8 WSSS indices of the truth."""
        return np.array([0, *(shape.label + 1 for shape in self.shapes)], np.uint8)[self.instances]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Place the objects and paint them over a background; grain comes last."""
    shapes, instances = _place_shapes(rng)
    image = _draw_background(rng)
    for shape in shapes:
        _draw_shape(image, shape)
    image = image + (GRAIN * (rng.random(image.shape[:2]) - 0.5))[..., None]
    return Scene(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), shapes, instances)


def _place_shapes(rng: np.random.Generator) -> tuple[list[Shape], np.ndarray]:
    labels = rng.permutation(len(CLASSES))[: rng.integers(1, MAX_CLASSES + 1)]
    shapes: list[Shape] = []
    instances = np.zeros((IMAGE_SIZE, IMAGE_SIZE), int)
    for _ in range(OBJECT_COUNTS[rng.integers(len(OBJECT_COUNTS))]):
        for _ in range(PLACING_TRIES):
            shape = _propose(rng, labels, shapes)
            drawn = np.where(shape.mask, len(shapes) + 1, instances)
            if _fits(shape, shapes) and _all_visible([*shapes, shape], drawn):
                shapes, instances = [*shapes, shape], drawn
                break
    return shapes, instances


def _propose(rng: np.random.Generator, labels: np.ndarray, shapes: list[Shape]) -> Shape:
    radius = between(rng, RADIUS)
    label = int(labels[rng.integers(len(labels))])
    y, x = BORDER * radius + rng.random(2) * (IMAGE_SIZE - 1 - 2 * BORDER * radius)
    classmates = [shape for shape in shapes if shape.label == label]
    if classmates and rng.random() < COMPANION_CHANCE:
        mate = classmates[rng.integers(len(classmates))]
        reach = between(rng, COMPANION_REACH) * (radius + mate.radius)
        cos, sin = random_direction(rng)
        y, x = mate.y + reach * sin, mate.x + reach * cos
    color = int(rng.integers(len(BODY_COLORS)))
    return Shape(label, float(y), float(x), radius, random_direction(rng), color)


def _fits(shape: Shape, shapes: list[Shape]) -> bool:
    """Inside the image, clear of other classes, and touching its own class or well away from it."""
    margin = BORDER * shape.radius
    fits = all(margin <= at <= IMAGE_SIZE - 1 - margin for at in (shape.y, shape.x))
    for other in shapes:
        dy, dx = shape.y - other.y, shape.x - other.x
        distance, reach = np.sqrt(dy * dy + dx * dx), shape.radius + other.radius
        low, high = (share * reach for share in COMPANION_REACH)
        if shape.label != other.label:
            fits &= distance >= STRANGER_REACH * reach
        else:
            fits &= low <= distance <= high or distance >= reach + CLASSMATE_GAP
    return fits


def _all_visible(shapes: list[Shape], instances: np.ndarray) -> bool:
    for number, shape in enumerate(shapes, start=1):
        visible = instances == number
        y, x = map(to_pixel, shape.emblem_yx)
        if not visible[y, x] or visible.sum() < MIN_VISIBLE * shape.mask.sum():
            return False
    return True


def _blend(image: np.ndarray, color: np.ndarray, alpha: Field) -> np.ndarray:
    return image + (color - image) * alpha[..., None]


def _coverage(distance: Field) -> Field:
    """Share of each pixel that a shape covers, from the distance to its border in pixels."""
    return np.clip(0.5 - distance, 0, 1)


def _draw_background(rng: np.random.Generator) -> np.ndarray:
    """Mottled ground of two colors under pebbles, rings and twigs in dulled body colors, which
    resemble no class."""
    first, second = GROUND_COLORS[rng.permutation(len(GROUND_COLORS))[:2]]
    image = _blend(np.broadcast_to(first, (IMAGE_SIZE, IMAGE_SIZE, 3)), second, value_noise(rng, 4))
    image = image + GROUND_RELIEF * (value_noise(rng, 24) - 0.5)[..., None]
    for _ in range(rng.integers(*CLUTTER_COUNT)):
        y, x = rng.random(2) * IMAGE_SIZE
        radius = between(rng, CLUTTER_RADIUS)
        window = _window_around(y, x, TWIG_LENGTH * radius + 1)
        u, v = _turn(XS[window] - x, YS[window] - y, random_direction(rng))
        color = CLUTTER_SATURATION * BODY_COLORS[rng.integers(len(BODY_COLORS))]
        color = color + (1 - CLUTTER_SATURATION) * rng.random()
        pebble, ring = disc(u, 1.5 * v, radius), np.abs(disc(u, v, radius)) - 0.8
        twig = np.maximum(np.abs(u) - TWIG_LENGTH * radius, np.abs(v) - 0.25 * radius)
        distance = (pebble, ring, twig)[rng.integers(3)]
        image[window] = _blend(image[window], color, CLUTTER_STRENGTH * _coverage(distance))
    return image


def _draw_shape(image: np.ndarray, shape: Shape) -> None:
    """Paint the object over the image, in place: shadow, textured body, rim, emblem."""
    kind, radius = shape.kind, shape.radius
    shadow = _outline(kind, *shape.to_local(SHADOW_SHIFT)) * radius / SHADOW_SOFTNESS
    patch = _blend(image[shape.window], INK, SHADOW_STRENGTH * _coverage(shadow))
    u, v = shape.to_local()
    distance = _outline(kind, u, v) * radius
    light = LIGHT_STRENGTH * (XS - shape.x + YS - shape.y)[shape.window] / radius
    texture = TEXTURE_STRENGTH * (_texture(kind, u, v) - 0.5) - light
    body = np.clip(BODY_COLORS[shape.color] + texture[..., None], 0, 1)
    rim = RIM_STRENGTH * np.clip(1 - np.abs(distance + 0.7), 0, 1)
    patch = _blend(patch, _blend(body, INK, rim), _coverage(distance))
    size, (at_u, at_v) = max(EMBLEM_RADIUS, MIN_EMBLEM_PIXELS / radius), EMBLEM_AT[kind]
    for layer, color in _emblem(kind, u - at_u, v - at_v, size):
        patch = _blend(patch, color, _coverage(layer * radius))
    image[shape.window] = patch
