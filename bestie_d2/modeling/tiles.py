"""Pictures that are too large for the network at once: it sees them in tiles that overlap.

What it says of the tiles, at its own stride, is blended to one map from top to bottom, enlarged to
the picture's size some rows at a time as the head enlarges its maps, and kept of the foreground.
Memory follows the tile, a row of tiles at the network's stride, and the foreground. Grouping then
sees one picture, so that no object is cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bestie_d2.errors import InputError
from bestie_d2.labeling.decode import PixelValues
from bestie_d2.modeling.backbone.timm_backbone import DEEPEST
from bestie_d2.modeling.heads import InstanceMaps
from bestie_d2.modeling.inputs import sides_of_multiples
from bestie_d2.modeling.meta_arch.bestie import BESTIE
from bestie_d2.structures import ObjectMask

VALUES_AT_ONCE = 2**24  # of maps at the picture's size: 64 MiB
# Shares of the overlap, from a tile's edge on, where what it says does not count (the network was
# shown no surroundings there), and where it comes to count in full.
UNSURE, SURE = 0.25, 0.75
NEARLY_NOTHING = 1e-6  # the weight there: no pixel is without
SMALLEST_TILE = 2 * DEEPEST  # pixels, two cells of a network's coarsest map


@dataclass(frozen=True)
class Tiling:
    """How large pictures are cut, in pixels as the network sees them.

    Attributes:
        size: side of a tile; pictures that are no larger are seen whole. 0: all are.
        overlap: of neighbors.
    """

    size: int = 2048
    overlap: int = 256

    def __post_init__(self) -> None:
        if self.size != 0 and self.size < SMALLEST_TILE:
            raise InputError(
                f"--tile {self.size}: expected {SMALLEST_TILE} pixels or more, or 0 for none"
            )
        if self.overlap < 0 or self.overlap * 2 > self.size > 0:
            raise InputError(
                f"--tile {self.size} --overlap {self.overlap}: expected an overlap of 0 pixels to "
                "half a tile"
            )

    def cuts(self, seen: tuple[int, int]) -> bool:
        """Whether a picture of which the network sees (h, w) pixels is seen in tiles."""
        return 0 < self.size < max(seen)

    def in_steps_of(self, step: int) -> Tiling:
        """With sides rounded up to multiples of so many pixels."""
        size, overlap = (-(-side // step) * step for side in (self.size, self.overlap))
        return Tiling(size, min(overlap, size // (2 * step) * step))

    def tiles(self, length: int, step: int) -> list[tuple[int, int]]:
        """Where each of the tiles that a side of a picture needs begins, at multiples of ``step``
        pixels, and where it ends; the last one ends with the picture."""
        last = -(-max(length - self.size, 0) // step) * step
        begins = [*range(0, last, self.size - self.overlap), last]
        return [(begin, min(begin + self.size, length)) for begin in begins]


@torch.no_grad()
def find_in_tiles(
    model: BESTIE, picture: np.ndarray, seen: tuple[int, int], tiling: Tiling
) -> list[ObjectMask]:
    """The instances of a (H, W, 3) uint8 picture of which the network sees (h, w) pixels."""
    seen = sides_of_multiples(seen, model.size_divisibility)
    size = (picture.shape[0], picture.shape[1])
    scale = (size[0] / seen[0], size[1] / seen[1])
    stride = min(shape.stride for shape in model.backbone.output_shape().values())
    stitched = _stitched(model, picture, seen, tiling, stride)
    height = -(-seen[0] // stride)
    index_map, values = np.zeros(size, np.uint8), [np.zeros((4, 0), np.float32)]
    row, num_classes = 0, 0
    for maps in _enlarged(stitched, height, size, bool(model.head.align_corners)):
        probability, center, offset = model.merge(_unpack(maps, 1 + model.flip), scale)
        part = PixelValues.of_maps(probability, center, offset)
        values.append(part.values)
        index_map[row : row + len(part.index_map)] = part.index_map
        row, num_classes = row + len(part.index_map), len(center)
    kept = PixelValues(index_map, np.concatenate(values, axis=1))
    del values
    return kept.objects(num_classes, model.device, **model.grouping)


def tile_of(picture: np.ndarray, seen: tuple[int, int], box: Sequence[int]) -> np.ndarray:
    """What ``box``, (top, left, bottom, right), holds of a picture that is resized to ``seen``,
    (h, w), without resizing more than that."""
    first, last, source = [], [], []
    for axis in (0, 1):
        side, shrunk = picture.shape[axis], picture.shape[axis] / seen[axis]
        begin, end = box[axis] * shrunk, box[axis + 2] * shrunk
        reach = int(np.ceil(max(shrunk, 1))) + 1  # of the bilinear filter, in pixels
        first.append(max(int(begin) - reach, 0))
        last.append(min(int(np.ceil(end)) + reach, side))
        source.append((begin - first[axis], end - first[axis]))
    region = Image.fromarray(picture[first[0] : last[0], first[1] : last[1]])
    size = (box[3] - box[1], box[2] - box[0])
    (top, bottom), (left, right) = source
    # As Detectron2's ResizeTransform.
    return np.asarray(region.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom)))


def _stitched(
    model: BESTIE, picture: np.ndarray, seen: tuple[int, int], tiling: Tiling, stride: int
) -> Iterator[Tensor]:
    """(K, r, w) rows, from top to bottom, of what the network says of all tiles at its stride."""
    step = math.lcm(model.size_divisibility, DEEPEST)
    tiling = tiling.in_steps_of(step)
    vertical, horizontal = (tiling.tiles(side, step) for side in seen)
    total = share = torch.zeros(0)
    for number, (top, bottom) in enumerate(vertical):
        for left, right in horizontal:
            tile = tile_of(picture, seen, (top, left, bottom, right))
            pixels = torch.from_numpy(tile.transpose(2, 0, 1).copy())
            maps = _pack(model.look_at(model.normalize(pixels[None])))
            if len(share) == 0:
                total = maps.new_zeros(len(maps), maps.shape[1], -(-seen[1] // stride))
                share = maps.new_zeros(total.shape[1:])
            rows, columns = (
                torch.from_numpy(_weights(begin, end, side, tiling.overlap, stride)).to(maps)
                for (begin, end), side in (((top, bottom), seen[0]), ((left, right), seen[1]))
            )
            weight = rows[:, None] * columns
            at = slice(len(rows)), slice(left // stride, left // stride + len(columns))
            total[(slice(None), *at)] += maps * weight
            share[at] += weight
        last = number + 1 == len(vertical)
        done = len(rows) if last else (vertical[number + 1][0] - top) // stride
        yield total[:, :done] / share[:done]
        total, share = (_moved_up(values, done) for values in (total, share))


def _moved_up(values: Tensor, rows: int) -> Tensor:
    """(..., h, w) values without the first rows, with as many of zeros at the end."""
    return torch.nn.functional.pad(values[..., rows:, :], (0, 0, 0, rows))


def _weights(begin: int, end: int, whole: int, overlap: int, stride: int) -> np.ndarray:
    """How much each place of a tile counts along a side, in full at the picture's edges."""
    places = np.arange(0, end - begin, stride, dtype=np.float32) + stride / 2
    before = np.where(begin > 0, places, np.inf)
    behind = np.where(end < whole, end - begin - places, np.inf)
    inside = np.minimum(before, behind) / max(overlap, 1)
    return ((inside - UNSURE) / (SURE - UNSURE)).clip(NEARLY_NOTHING, 1).astype(np.float32)


def _enlarged(
    blocks: Iterator[Tensor], height: int, size: tuple[int, int], align_corners: bool
) -> Iterator[Tensor]:
    """(K, r, W) rows, from top to bottom, of the map of ``height`` rows that (K, ., w) blocks make
    up, enlarged to (H, W) by bilinear interpolation."""
    first, row, band = 0, 0, torch.zeros(0)
    above, below, down = _neighbors(height, size[0], align_corners)
    for block in blocks:
        left, right, across = (
            torch.from_numpy(column).to(block.device)
            for column in _neighbors(block.shape[2], size[1], align_corners)
        )
        at_once = max(VALUES_AT_ONCE // (len(block) * size[1]), 1)
        if len(band) == 0:
            band = block
        else:  # the last row of the one before is needed with the first one
            first, band = first + band.shape[1] - 1, torch.cat([band[:, -1:], block], dim=1)
        ready = int(np.searchsorted(below, first + band.shape[1]))
        for start in range(row, ready, at_once):
            rows = slice(start, min(start + at_once, ready))
            upper, lower, share = (
                torch.from_numpy(column[rows]).to(block.device) for column in (above, below, down)
            )
            lines = band[:, upper - first].lerp(band[:, lower - first], share[:, None])
            yield lines[..., left].lerp(lines[..., right], across)
        row = max(row, ready)


def _neighbors(
    length: int, wanted: int, align_corners: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each of the ``wanted`` places of an enlarged side: int64 places before and behind on the
    side as it was, and the float32 share of the second (as PyTorch's ``interpolate``)."""
    places = np.arange(wanted)
    if align_corners:
        source = places * ((length - 1) / max(wanted - 1, 1))
    else:
        source = ((places + 0.5) * (length / wanted) - 0.5).clip(min=0)
    before = source.astype(np.int64).clip(max=length - 1)
    behind = np.minimum(before + 1, length - 1)
    return before, behind, (source - before).astype(np.float32)


def _pack(views: Sequence[InstanceMaps]) -> Tensor:
    """(K, h, w) of all maps of one image."""
    return torch.cat(
        [maps[0] for view in views for maps in (view.sem_seg, view.center, view.offset)]
    )


def _unpack(maps: Tensor, views: int) -> list[InstanceMaps]:
    num_classes = (len(maps) // views - 3) // 2
    sizes = [num_classes + 1, num_classes, 2]
    return [InstanceMaps(*view[None].split(sizes, dim=1)) for view in maps.chunk(views)]
