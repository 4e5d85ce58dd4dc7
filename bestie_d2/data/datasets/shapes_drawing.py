"""Pixels of the synthetic set: textured objects over a mottled, cluttered ground.

Identity shows most in a small emblem (a fish's eye, a bug's head, a kite's gem, a flower's
heart), as a face does in an animal; body outline and texture differ too, body colors do not.

Legend: ``rng`` is a NumPy Generator, images are (H, W, 3) float RGB in [0, 1].
"""

from __future__ import annotations

import numpy as np

from bestie_d2.data.datasets.shapes_geometry import (
    EMBLEM_AT,
    IMAGE_SIZE,
    OUTLINES,
    TEXTURES,
    XS,
    YS,
    Field,
    Shape,
    disc,
    random_direction,
    turn,
    window_around,
)

BODY_COLORS = np.array([
    (0.91, 0.49, 0.42), (0.27, 0.62, 0.64), (0.66, 0.54, 0.80), (0.45, 0.69, 0.44),
    (0.36, 0.53, 0.80), (0.86, 0.56, 0.70), (0.80, 0.62, 0.42), (0.55, 0.60, 0.66),
])  # fmt: skip
GROUND_COLORS = np.array([
    (0.78, 0.74, 0.64), (0.60, 0.66, 0.58), (0.56, 0.60, 0.68), (0.72, 0.66, 0.68),
    (0.50, 0.53, 0.49), (0.80, 0.79, 0.75),
])  # fmt: skip
WHITE, INK = np.array((0.98, 0.97, 0.94)), np.array((0.10, 0.10, 0.14))
CRIMSON, GOLD, LEMON = (
    np.array((0.80, 0.08, 0.16)), np.array((0.98, 0.76, 0.12)), np.array((0.99, 0.94, 0.35)),
)  # fmt: skip
AMBER = np.array((0.62, 0.30, 0.06))

SHADOW_SHIFT, SHADOW_SOFTNESS, SHADOW_STRENGTH = 0.12, 4.0, 0.30
RIM_STRENGTH, TEXTURE_STRENGTH, LIGHT_STRENGTH = 0.45, 0.22, 0.10
GROUND_RELIEF, GRAIN = 0.16, 0.05
CLUTTER_COUNT = (10, 22)
CLUTTER_RADIUS = (1.5, 5.0)
CLUTTER_SATURATION, CLUTTER_STRENGTH, TWIG_LENGTH = 0.55, 0.8, 2.5


def value_noise(rng: np.random.Generator, cells: int) -> Field:
    """(H, W) smooth noise in [0, 1] with ``cells`` random values a side."""
    grid = rng.random((cells + 1, cells + 1))
    position = (np.arange(IMAGE_SIZE) + 0.5) * (cells / IMAGE_SIZE)
    index = position.astype(int)
    part = position - index
    part = part * part * (3 - 2 * part)
    rows = grid[index] * (1 - part)[:, None] + grid[index + 1] * part[:, None]
    return rows[:, index] * (1 - part) + rows[:, index + 1] * part


def _blend(image: np.ndarray, color: np.ndarray, alpha: Field) -> np.ndarray:
    return image + (color - image) * alpha[..., None]


def _coverage(distance: Field) -> Field:
    """Share of each pixel that a shape covers, from the distance to its border in pixels."""
    return np.clip(0.5 - distance, 0, 1)


def draw_background(rng: np.random.Generator) -> np.ndarray:
    """Mottled ground of two colors under clutter that resembles no class."""
    first, second = GROUND_COLORS[rng.permutation(len(GROUND_COLORS))[:2]]
    image = _blend(np.broadcast_to(first, (IMAGE_SIZE, IMAGE_SIZE, 3)), second, value_noise(rng, 4))
    image = image + GROUND_RELIEF * (value_noise(rng, 24) - 0.5)[..., None]
    for _ in range(rng.integers(*CLUTTER_COUNT)):
        _draw_clutter(rng, image)
    return image


def _draw_clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Paint a pebble, a ring or a twig in a dulled body color."""
    y, x = rng.random(2) * IMAGE_SIZE
    radius = CLUTTER_RADIUS[0] + rng.random() * (CLUTTER_RADIUS[1] - CLUTTER_RADIUS[0])
    window = window_around(y, x, TWIG_LENGTH * radius + 1)
    u, v = turn(XS[window] - x, YS[window] - y, random_direction(rng))
    color = CLUTTER_SATURATION * BODY_COLORS[rng.integers(len(BODY_COLORS))]
    color = color + (1 - CLUTTER_SATURATION) * rng.random()
    pebble = disc(u, 1.5 * v, radius)
    twig = np.maximum(np.abs(u) - TWIG_LENGTH * radius, np.abs(v) - 0.25 * radius)
    ring = np.abs(disc(u, v, radius)) - 0.8
    distance = (pebble, ring, twig)[rng.integers(3)]
    image[window] = _blend(image[window], color, CLUTTER_STRENGTH * _coverage(distance))


def draw_shape(image: np.ndarray, shape: Shape) -> None:
    """Paint the object over the image, in place: shadow, textured body, rim, emblem."""
    outline, radius = OUTLINES[shape.name], shape.radius
    shadow = outline(*shape.to_local(SHADOW_SHIFT)) * radius / SHADOW_SOFTNESS
    patch = _blend(image[shape.window], INK, SHADOW_STRENGTH * _coverage(shadow))
    u, v = shape.to_local()
    distance = outline(u, v) * radius
    light = LIGHT_STRENGTH * (XS - shape.x + YS - shape.y)[shape.window] / radius
    texture = TEXTURE_STRENGTH * (TEXTURES[shape.name](u, v) - 0.5) - light
    body = np.clip(BODY_COLORS[shape.color] + texture[..., None], 0, 1)
    rim = RIM_STRENGTH * np.clip(1 - np.abs(distance + 0.7), 0, 1)
    patch = _blend(patch, _blend(body, INK, rim), _coverage(distance))
    image[shape.window] = _draw_emblem(patch, shape, u, v)


def _draw_emblem(patch: np.ndarray, shape: Shape, u: Field, v: Field) -> np.ndarray:
    at_u, at_v = EMBLEM_AT[shape.name]
    u, v, size = u - at_u, v - at_v, shape.emblem_radius
    round_ = disc(u, v, size)
    gem = 0.7 * (np.abs(u) + np.abs(v) - 0.95 * size)
    eyes = disc(np.abs(u) - 0.45 * size, v + 0.15 * size, 0.30 * size)
    layers = {
        "fish": ((round_, WHITE), (disc(u - 0.15 * size, v, 0.55 * size), INK)),
        "bug": ((round_, INK), (eyes, LEMON)),
        "kite": ((round_, WHITE), (gem, CRIMSON)),
        "flower": ((round_, GOLD), (disc(u, v, 0.50 * size), AMBER)),
    }[shape.name]
    for distance, color in layers:
        patch = _blend(patch, color, _coverage(distance * shape.radius))
    return patch


def to_bytes(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB, with grain."""
    grain = GRAIN * (rng.random(image.shape[:2]) - 0.5)
    return np.round(np.clip(image + grain[..., None], 0, 1) * 255).astype(np.uint8)
