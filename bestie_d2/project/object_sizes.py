"""How large pictures and objects are, measured from points and thresholds, or guessed from tags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree
from tqdm import tqdm

from bestie_d2.data.images import ImageReader
from bestie_d2.data.names import label_name
from bestie_d2.evaluation.base import PERCENT, decimals, table
from bestie_d2.evaluation.weak_components import none_one_several
from bestie_d2.labeling.thresholds import METHODS, ForegroundRecipe, weak_foreground
from bestie_d2.ops.components import find_components
from bestie_d2.pictures.dataset import spread_over
from bestie_d2.project.labeled_set import LabeledSet
from bestie_d2.structures import PointCues

MOST_PICTURES, MOST_PIXELS = 40, 40e6  # that thresholds are compared on, of all together
USUAL, LEAD = ForegroundRecipe().method, 0.02  # its rivals have to be so much better
WINDOW = 2.4  # diameters; of the local threshold, which wants about two
SMALL, SMALLEST, CLOSE = 25, 10, 5  # percentiles: of diameters, of areas, of distances
OF_NEAREST = 0.7  # diameter of objects on photographs, a share of the way to the nearest one
OF_PICTURE = 1 / 3  # the same, of the longer side; VOC's are 150 of 449 pixels
NOISE = 1 / 4  # of the smallest objects' area: what is smaller is none
SHARE_SMALL, SHARE_SMALLEST, SHARE_CLOSE = 0.5, 1 / 6, 0.275  # of a diameter, as VOC's recipe has


@dataclass(frozen=True)
class ObjectSizes:
    """Lengths in pixels of the pictures as they are."""

    sides: tuple[int, int]  # shorter and longer, of a typical picture
    diameter: float  # of a typical object
    small_diameter: float  # three objects in four are larger
    smallest_area: float  # nine in ten are larger
    spacing: float  # between the centers of the closest
    most: int  # objects in a picture; 0 if nobody knows

    def describe(self) -> str:
        return (
            f"pictures: typically {self.sides[1]} x {self.sides[0]} pixels; objects: typically "
            f"{self.diameter:.0f} pixels across, a quarter of them below {self.small_diameter:.0f}"
            + f"; at most {self.most} in a picture"
            * (self.most > 0)
        )


@dataclass
class Trial:
    """What a threshold gave: its components by how many points they hold."""

    recipe: ForegroundRecipe
    held: np.ndarray = field(default_factory=lambda: np.zeros(3, int))  # none, one, several
    points: int = 0
    areas: list[float] = field(default_factory=list)  # of a component, the share of each point

    def add(self, image: np.ndarray, cues: PointCues) -> None:
        """Count in a grey (H, W) image of one class."""
        mask = weak_foreground(image, self.recipe)
        found = find_components(mask.astype(np.uint8), [0])
        counts = found.count_cues(cues)
        self.held += none_one_several(counts)
        self.points += len(cues)
        self.areas += np.repeat(found.areas / np.maximum(counts, 1), counts).tolist()

    @property
    def quality(self) -> float:
        """F1 of components as objects: those with exactly one point are right, 0 to 1."""
        return float(2 * self.held[1] / max(1, self.held.sum() + self.points))


def compare_thresholds(labeled: LabeledSet, reader: ImageReader) -> list[Trial]:
    """Every method on some of the pictures of a set of points of one class, best first."""
    records = _some(labeled.records)
    pairs = [(r["file_name"], labeled.cues.get(label_name(r), PointCues.empty())) for r in records]
    first = Trial(ForegroundRecipe("otsu", min_area=1))
    for path, cues in tqdm(pairs, desc="sizes of objects", unit="image"):
        first.add(reader.read_grey(path), cues)
    diameter = _diameter(first.areas) if first.areas else ForegroundRecipe().block_size / WINDOW
    recipe = ForegroundRecipe(block_size=odd(WINDOW * diameter), min_area=1)
    if first.areas:
        floor = NOISE * float(np.percentile(first.areas, SMALLEST))
        recipe = replace(recipe, min_area=max(1, round(floor)))
    trials = [Trial(replace(recipe, method=method)) for method in METHODS]  # type: ignore[arg-type]
    for path, cues in tqdm(pairs, desc="thresholds", unit="image"):
        image = reader.read_grey(path)
        for trial in trials:
            trial.add(image, cues)
    return sorted(trials, key=lambda trial: -trial.quality - LEAD * (trial.recipe.method == USUAL))


def describe_trials(trials: Sequence[Trial]) -> str:
    """A row for each threshold."""
    held = np.array([trial.held for trial in trials])
    shares = PERCENT * held / np.maximum(held.sum(axis=1), 1)[:, None]
    names = ("no point %", "exactly one %", "several %")
    return table(
        {
            "threshold": [trial.recipe.method for trial in trials],
            "components": held.sum(axis=1).tolist(),
            **{name: decimals(column, 1) for name, column in zip(names, shares.T, strict=True)},
            "F1 in %": decimals([PERCENT * trial.quality for trial in trials], 1),
        }
    )


def measured_sizes(labeled: LabeledSet, best: Trial) -> ObjectSizes | None:
    """Sizes by the components that hold points; None if there are none."""
    if not best.areas:
        return None
    small = _diameter(best.areas, SMALL)
    known = _known(labeled)
    distances = known.distances or [_diameter(best.areas)]
    return ObjectSizes(
        known.sides,
        _diameter(best.areas),
        small,
        float(np.percentile(best.areas, SMALLEST)),
        float(np.percentile(distances, CLOSE)),
        known.most,
    )


def guessed_sizes(labeled: LabeledSet) -> ObjectSizes:
    """Sizes where no weak map tells: each point's object by how far the next of its class is, and
    at most a third of a picture's longer side, which is that of a point alone."""
    known = _known(labeled)
    largest = OF_PICTURE * known.sides[1]
    if not known.most:
        small, area = SHARE_SMALL * largest, area_of(SHARE_SMALLEST * largest)
        return ObjectSizes(known.sides, largest, small, area, SHARE_CLOSE * largest, 0)
    diameters = np.full(known.points, largest)
    near = OF_NEAREST * np.array(known.distances)
    diameters[: len(near)] = np.minimum(near, largest)
    smallest, small, diameter = np.percentile(diameters, [SMALLEST, SMALL, 50]).tolist()
    spacing = SHARE_CLOSE * diameter
    return ObjectSizes(known.sides, diameter, small, area_of(smallest), spacing, known.most)


def area_of(diameter: float) -> float:
    """Of a disk."""
    return math.pi / 4 * diameter**2


def odd(length: float) -> int:
    """The largest odd number of pixels up to a length, at least 3."""
    return max(3, int(length + 1) // 2 * 2 - 1)


@dataclass(frozen=True)
class _Known:
    sides: tuple[int, int]
    points: int  # of all classes
    distances: list[float]  # from each point that is not alone to the nearest of its class
    most: int  # points in a picture


def _known(labeled: LabeledSet) -> _Known:
    """What records and points say without a look at a picture."""
    sides = np.sort([(record["height"], record["width"]) for record in labeled.records], axis=1)
    distances: list[float] = []
    for cues in labeled.cues.values():
        for index in cues.classes.unique().tolist():
            yx = cues.yx[cues.classes == index].numpy()
            if len(yx) > 1:
                distances += cKDTree(yx).query(yx, 2)[0][:, 1].tolist()
    shorter, longer = np.median(sides, axis=0).astype(int).tolist()
    counts = [len(cues) for cues in labeled.cues.values()]
    return _Known((shorter, longer), sum(counts), distances, max(counts, default=0))


def _diameter(areas: Sequence[float], percentile: float = 50) -> float:
    return math.sqrt(float(np.percentile(areas, percentile)) / area_of(1))


def _some(records: Sequence[dict]) -> list[dict]:
    """Pictures from all over a set, of so many pixels that it does not take long."""
    pixels = float(np.mean([record["height"] * record["width"] for record in records]))
    return spread_over(records, max(1, min(MOST_PICTURES, int(MOST_PIXELS / pixels))))
