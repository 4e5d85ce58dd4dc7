"""Drawn scenes for measuring: what a trained network predicts for a known number of objects.

Objects lie on a grid that fills the map, so their number changes their size and not how much of the
map is foreground. ``separate`` ones are ellipses, each a component of its own; ``touching`` ones
are rectangles without a gap, ``row`` of them to a component.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bestie_d2.ops.heatmap import draw_gaussians
from bestie_d2.structures import PointCues, wsss_index

Layout = Literal["separate", "touching", "one_component"]

SIGMA = 6  # MODEL.BESTIE.SIGMA
ROW = 4  # touching objects in a component; refinement leaves out components of more than five
GAP = 0.2  # of a cell's side, around separate objects
TAGGED = 3  # classes that the objects are of, in turn; one class where they all touch
LOGIT = 4.0  # of an object's class; other logits are noise of deviation 1
OFFSET_NOISE = 2.0  # deviation in pixels
PEAK = 0.8  # highest value of the center map, at each object's center
CENTER_NOISE = 0.05  # highest value elsewhere


@dataclass(frozen=True)
class Scene:
    """One image's labels and predictions.

    Attributes:
        weak_sem_seg: (H, W) int64 WSSS indices.
        cues: one at each object's center.
        image_classes: (C,) bool.
        logits: (C+1, H, W).
        center: (C, H, W).
        offset: (2, H, W), (y, x) pixels.
    """

    weak_sem_seg: Tensor
    cues: PointCues
    image_classes: Tensor
    logits: Tensor
    center: Tensor
    offset: Tensor


def make_scene(
    instances: int,
    size: tuple[int, int],
    *,
    num_classes: int = 20,
    layout: Layout = "separate",
    seed: int = 0,
) -> Scene:
    """A scene of ``instances`` objects on a map of ``size`` (H, W)."""
    random = torch.Generator().manual_seed(seed)
    height, width = size
    columns = _columns(instances, size, layout)
    cell = (height / math.ceil(instances / columns), width / columns)
    rows_of, columns_of = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    weak = torch.zeros(size, dtype=torch.int64)
    offset = torch.randn(2, height, width, generator=random) * OFFSET_NOISE
    center = torch.rand(num_classes, height, width, generator=random) * CENTER_NOISE
    table = []
    for number in range(instances):
        row, column = divmod(number, columns)
        class_id = _class_of(number, row, layout) % num_classes
        y, x = (row + 0.5) * cell[0], (column + 0.5) * cell[1]
        inside = _object_mask((rows_of - y) / cell[0], (columns_of - x) / cell[1], layout)
        weak[inside] = wsss_index(class_id)
        offset[0] += torch.where(inside, int(y) - rows_of, 0)
        offset[1] += torch.where(inside, int(x) - columns_of, 0)
        table.append((int(y), int(x), class_id))
    logits = torch.randn(num_classes + 1, height, width, generator=random)
    logits.scatter_add_(0, weak[None], torch.full((1, *size), LOGIT))
    places = torch.tensor(table)
    blobs = torch.zeros_like(center)
    draw_gaussians(blobs, places[:, 2], places[:, :2], torch.full((instances,), SIGMA), SIGMA)
    torch.maximum(center, blobs * PEAK, out=center)
    tags = torch.zeros(num_classes, dtype=torch.bool)
    tags[places[:, 2]] = True
    cues = PointCues(places[:, :2].float(), places[:, 2], torch.ones(instances))
    return Scene(weak, cues, tags, logits, center, offset)


def _columns(instances: int, size: tuple[int, int], layout: Layout) -> int:
    if layout == "touching":
        return min(ROW, instances)
    return max(1, round(math.sqrt(instances * size[1] / size[0])))


def _class_of(number: int, row: int, layout: Layout) -> int:
    """Neighbors in a row share their class where they should be one component."""
    return {"separate": number % TAGGED, "touching": row % TAGGED, "one_component": 0}[layout]


def _object_mask(y: Tensor, x: Tensor, layout: Layout) -> Tensor:
    """Pixels of an object, from coordinates in cells around its center."""
    if layout == "separate":
        return y**2 + x**2 < ((1 - GAP) / 2) ** 2
    half = 0.5 if layout == "one_component" else (1 - GAP) / 2  # rows of touching ones stay apart
    return (y.abs() <= half) & (x.abs() <= 0.5)
