"""Geometry of the synthetic set: four kinds of objects, their outlines and textures.

Legend: ``u``, ``v`` are an object's own coordinates in units of its radius. Here and in the modules
that draw and place objects only exactly rounded operations are used (no trigonometry, no power),
so that every machine draws the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

IMAGE_SIZE = 128
CLASSES = ("fish", "bug", "kite", "flower")

EMBLEM_AT = {"fish": (0.52, -0.08), "bug": (0.0, -0.62), "kite": (0.0, -0.12), "flower": (0.0, 0.0)}
EMBLEM_RADIUS = 0.32
MIN_EMBLEM_PIXELS = 3.0
WINDOW_REACH = 1.5  # radii

Field = np.ndarray  # one value a pixel
Window = tuple[slice, slice]
YS, XS = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(float)


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
    def name(self) -> str:
        return CLASSES[self.label]

    @property
    def window(self) -> Window:
        """The part of the image that the object and its shadow can reach."""
        return window_around(self.y, self.x, WINDOW_REACH * self.radius)

    def to_local(self, shift: float = 0.0) -> tuple[Field, Field]:
        """u, v of the window's pixels; ``shift`` moves the object down and right, in radii."""
        dx = (XS[self.window] - self.x) / self.radius - shift
        dy = (YS[self.window] - self.y) / self.radius - shift
        return turn(dx, dy, self.direction)

    @property
    def emblem_radius(self) -> float:
        return max(EMBLEM_RADIUS, MIN_EMBLEM_PIXELS / self.radius)

    @property
    def emblem_yx(self) -> tuple[float, float]:
        """Center of the emblem in image pixels."""
        u, v = EMBLEM_AT[self.name]
        cos, sin = self.direction
        return (
            self.y + self.radius * (sin * u + cos * v),
            self.x + self.radius * (cos * u - sin * v),
        )

    def mask(self) -> np.ndarray:
        """(H, W) bool, the pixels of the object if nothing hid it."""
        mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
        mask[self.window] = OUTLINES[self.name](*self.to_local()) < 0
        return mask


def window_around(y: float, x: float, reach: float) -> Window:
    """The square of half side ``reach`` pixels, cut at the image's border."""
    return tuple(
        slice(max(int(at - reach), 0), max(min(int(at + reach) + 2, IMAGE_SIZE), 0))
        for at in (y, x)
    )


def turn(dx: Field, dy: Field, direction: tuple[float, float]) -> tuple[Field, Field]:
    """Coordinates along ``direction`` (cos, sin) and across it."""
    cos, sin = direction
    return cos * dx + sin * dy, cos * dy - sin * dx


def random_direction(rng: np.random.Generator) -> tuple[float, float]:
    """A (cos, sin) pair, made without trigonometry."""
    half = 2 * rng.random() - 1
    cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    return ((cos, sin), (sin, cos), (-cos, sin), (sin, -cos))[rng.integers(4)]


# -- outlines: about the signed distance to the border in radii, negative inside


def disc(u: Field, v: Field, radius: float) -> Field:
    return np.sqrt(u * u + v * v) - radius


def _fish(u: Field, v: Field) -> Field:
    body = (disc((u - 0.14) / 0.84, v / 0.58, 1.0)) * 0.58
    tail = np.maximum(np.maximum(-0.98 - u, u + 0.40), np.abs(v) + 0.75 * u + 0.18)
    return np.minimum(body, tail)


def _bug(u: Field, v: Field) -> Field:
    return np.minimum(disc(u, v - 0.20, 0.76), disc(u, v + 0.62, 0.36))


def _kite(u: Field, v: Field) -> Field:
    return (np.abs(u) / 0.80 + np.abs(v + 0.1) / np.where(v < -0.1, 0.85, 1.05) - 1) * 0.62


def _flower(u: Field, v: Field) -> Field:
    radius = np.sqrt(u * u + v * v)
    cos = u / np.maximum(radius, 1e-6)
    square = cos * cos
    petals = cos * (16 * square * square - 20 * square + 5)  # cosine of five times the angle
    return radius - (0.80 + 0.18 * petals)


OUTLINES: dict[str, Callable[[Field, Field], Field]] = {
    "fish": _fish, "bug": _bug, "kite": _kite, "flower": _flower,
}  # fmt: skip


# -- textures in [0, 1]


def _wave(field: Field) -> Field:
    """Triangle wave of period 1 between 0 and 1."""
    return np.abs(2 * (field - np.floor(field)) - 1)


def _stripes(u: Field, v: Field) -> Field:
    return (_wave(2.6 * u + 0.8 * v * v) > 0.5).astype(float)


def _dots(u: Field, v: Field) -> Field:
    return (disc(_wave(1.6 * u) - 0.5, _wave(1.6 * v + 0.25) - 0.5, 0.30) < 0).astype(float)


def _quarters(u: Field, v: Field) -> Field:
    return ((u > 0) ^ (v + 0.12 > 0)).astype(float)


def _rings(u: Field, v: Field) -> Field:
    return _wave(2.2 * np.sqrt(u * u + v * v))


TEXTURES = {"fish": _stripes, "bug": _dots, "kite": _quarters, "flower": _rings}
