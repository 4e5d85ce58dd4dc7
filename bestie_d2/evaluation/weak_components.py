"""Components of weak maps, counted by the cues that lie on them, and taken for instances.

A component of a weak map becomes a pseudo label when exactly one cue of its class lies on it; the
counts say what cues are good for. Each component taken for one instance is what weak maps give for
free: the figure that a model trained on them has to beat.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.structures import BitMasks, Instances
from detectron2.utils import comm

from bestie_d2.data.labels.attach import classes_in_maps, registered_records, weak_map_path
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import PERCENT, decimals, table
from bestie_d2.evaluation.failures import describe_failures
from bestie_d2.ops.components import find_components
from bestie_d2.structures import PointCues, wsss_index

MIN_AREA = 50  # pixels; the released recipe's smallest component
MANY = 3  # cues in an image from which on images are counted together
BEST = "<- most components with exactly one cue"
HELD = ("none", "one", "several")  # cues on a component


def none_one_several(counts: np.ndarray) -> list[int]:
    """How many of the counts of cues are 0, 1 and more."""
    return np.bincount(np.minimum(counts, 2), minlength=3).tolist()


def count_cues(
    cues: PointCues,
    image_classes: Sequence[int],
    *,
    threshold: float,
    index_map: np.ndarray | None = None,
    min_area: int = MIN_AREA,
) -> dict:
    """The counts of one image, as a JSON value for :meth:`CueSummary.add`.

    Args:
        cues: all that were found; those that score above the threshold count.
        image_classes: class ids ``0..C-1`` of the tags.
        index_map: (H, W) WSSS indices of the weak map, if there is one.
        min_area: smaller components of it are passed over, in pixels.

    Returns:
        ``classes``, a row ``[class_id, images, cues, none, one, several]`` for each tag, and
        ``written``, the number of all cues; ``has_map``.
    """
    sure = cues[cues.scores > threshold]
    classes = held = np.zeros(0, dtype=np.int64)  # of the components
    if index_map is not None:
        found = find_components(index_map, image_classes, min_area=min_area)
        classes, held = found.classes, found.count_cues(sure)
    rows = [
        [int(c), 1, int((sure.classes == c).sum()), *none_one_several(held[classes == c])]
        for c in image_classes
    ]
    return {"classes": rows, "written": len(cues), "has_map": index_map is not None}


class CueSummary:
    """Counts over any number of images; they add up.

    Attributes:
        by_class: (C, 5) int64. Images that have the tag; cues above the threshold; 8-connected
            components of the weak maps with none, one and several of them.
        images_with: (4,) int64, images with 0, 1, 2, and 3 or more cues above the threshold.
        without_any, with_map: images without a cue, however low its score, and with a weak map.
        failures: where the truth is known, objects and cues of each kind, as in ``failures``.
    """

    def __init__(self, num_classes: int) -> None:
        self.by_class = np.zeros((num_classes, 2 + len(HELD)), dtype=np.int64)
        self.images_with = np.zeros(MANY + 1, dtype=np.int64)
        self.without_any = self.with_map = 0
        self.failures: Counter[str] = Counter()

    def add(self, counts: dict) -> None:
        """Add the counts of one image, as :func:`count_cues` returns them."""
        for class_id, *row in counts["classes"]:
            self.by_class[class_id] += row
        self.images_with[min(sum(row[2] for row in counts["classes"]), MANY)] += 1
        self.without_any += counts["written"] == 0
        self.with_map += counts["has_map"]

    @property
    def images(self) -> int:
        return int(self.images_with.sum())

    @property
    def cues(self) -> int:
        return int(self.by_class[:, 1].sum())

    @property
    def components(self) -> tuple[int, ...]:
        """Components with no, exactly one and several cues."""
        return tuple(self.by_class[:, 2:].sum(axis=0).tolist())

    def describe(self, threshold: float) -> list[str]:
        """A line for each thing that was counted."""
        images, total = max(self.images, 1), sum(self.components)
        lines = [
            f"cues above {threshold:g}: {self.cues} in {self.images} images, "
            f"{self.cues / images:.2f} an image",
            f"images with 0 / 1 / 2 / {MANY} or more of them: {_shares(self.images_with, images)}",
            f"images without any cue, however weak: {self.without_any}",
        ]
        if total:
            lines.append(
                "weak components with none / exactly one / several of them: "
                f"{_shares(self.components, total)} of {total} "
                "(the method takes those with exactly one for pseudo labels)"
            )
        if 0 < self.with_map < self.images:
            lines.append(f"weak maps that can be used: {self.with_map} of {self.images}")
        return lines + describe_failures(self.failures, "cues")

    def table(self, class_names: Sequence[str]) -> str:
        """The counts of each class that occurs, as a table."""
        seen = np.flatnonzero(self.by_class[:, 0])
        images, cues, *components = self.by_class[seen].T
        total = sum(components)
        share = np.where(total > 0, PERCENT * components[1] / np.maximum(total, 1), np.nan)
        return table(
            {
                "class": [class_names[index] for index in seen.tolist()],
                **{"images": images, "cues": cues, "cues/image": decimals(cues / images, 2)},
                **dict(zip(HELD, components, strict=True)),
                "one in %": decimals(share, 1),
            }
        )


def _shares(counts: Iterable[int], total: int) -> str:
    return " / ".join(f"{PERCENT * count / total:.1f} %" for count in counts)


def compare_summaries(summaries: Mapping[float, CueSummary], name: str) -> str:
    """A row for each value of what was varied, called ``name``; the one with most pseudo labels is
    pointed out."""
    most = max(summary.components[1] for summary in summaries.values())
    rows = []
    for value, summary in summaries.items():
        images, components = max(summary.images, 1), summary.components
        without = f"{PERCENT * summary.images_with[0] / images:.1f}"
        best = BEST if components[1] == most > 0 else ""
        cues = (summary.cues, f"{summary.cues / images:.2f}")
        rows.append((f"{value:g}", *cues, without, *components, best))
    names = (name, "cues", "cues/image", "images without in %", *HELD, "")
    return table(dict(zip(names, zip(*rows, strict=True), strict=True)))


# -- the map of one class, against true masks and against points


def count_against_truth(index_map: np.ndarray, truth: np.ndarray, class_id: int) -> Counter[str]:
    """Pixels of a class in (H, W) WSSS indices and in the (H, W) bool union of its true masks."""
    found = index_map == wsss_index(class_id)
    return Counter(intersection=int((found & truth).sum()), union=int((found | truth).sum()))


def count_against_points(index_map: np.ndarray, cues: PointCues, class_id: int) -> Counter[str]:
    """Points of a class, those of them on its pixels in (H, W) WSSS indices, and its components by
    how many lie on them."""
    held = find_components(index_map, [class_id]).count_cues(cues)
    points = int((cues.classes == class_id).sum())
    components = dict(zip(HELD, none_one_several(held), strict=True))
    return Counter(points=points, inside=int(held.sum()), **components)


def describe_counts(counts: Counter[str]) -> list[str]:
    """A line for each thing that :func:`count_against_truth` or :func:`count_against_points` have
    counted, over any number of images."""
    lines, components = [], [counts[key] for key in HELD]
    if union := counts["union"]:
        shared = _shares([counts["intersection"]], union)
        lines.append(f"foreground IoU with the truth: {shared}")
    if points := counts["points"]:
        inside = _shares([counts["inside"]], points)
        lines.append(f"points on the foreground: {inside} of {points}")
    if total := sum(components):
        shares = _shares(components, total)
        lines.append(f"components with no / exactly one / several points: {shares} of {total}")
    return lines


# -- each component taken for one instance


def weak_component_instances(
    index_map: np.ndarray, num_classes: int, min_area: int = MIN_AREA
) -> Instances:
    """The components of (H, W) WSSS indices as predictions of score 1, by class, then in raster
    order: ``pred_masks`` (N, H, W) bool, ``pred_boxes``, ``pred_classes`` and ``scores``; without
    those of fewer pixels than ``min_area``."""
    found = find_components(index_map, range(num_classes), min_area=min_area)
    masks = torch.from_numpy(found.masks())
    return Instances(
        index_map.shape,
        pred_masks=masks,
        pred_boxes=BitMasks(masks).get_bounding_boxes(),
        pred_classes=torch.from_numpy(found.classes),
        scores=torch.ones(len(found)),  # a weak map does not say how sure it is
    )


def has_weak_maps(dataset_name: str) -> bool:
    """Whether a registered data set has a weak map for each of its images."""
    folder = MetadataCatalog.get(dataset_name).get("weak_maps")
    return bool(folder) and all(
        os.path.isfile(weak_map_path(folder, record)) for record in DatasetCatalog.get(dataset_name)
    )


def evaluate_weak_components(
    dataset_name: str,
    evaluators: DatasetEvaluator | Iterable[DatasetEvaluator],
    *,
    weak_maps: str = "",
    min_area: int = MIN_AREA,
) -> dict[str, dict[str, float]]:
    """What evaluators say, in the main process, of the components of a data set's weak maps, as if
    a model had found them.

    Every process takes its share of the images, so with several of them the evaluators must be
    distributed ones.

    Args:
        weak_maps: folder of index PNGs that replaces the registered one unless empty.
        min_area: smaller components are dropped, in pixels.

    Raises:
        InputError: no folder of weak maps; a map is missing, unreadable or of another size than
            its image.
    """
    records, metadata = registered_records(dataset_name), MetadataCatalog.get(dataset_name)
    folder = expand_path(weak_maps) or metadata.get("weak_maps")
    if not folder:
        raise InputError(f"data set {dataset_name!r} has no weak maps: set DATASETS.WEAK_MAPS")
    if not isinstance(evaluators, DatasetEvaluator):
        evaluators = DatasetEvaluators(list(evaluators))
    evaluators.reset()
    kept = classes_in_maps(dataset_name, folder)
    num_classes = len(metadata.thing_classes)
    for record in records[comm.get_rank() :: comm.get_world_size()]:
        size = (record["height"], record["width"])
        path = weak_map_path(folder, record)
        index_map = read_weak_sem_seg(path, num_classes, size, kept=kept)
        instances = weak_component_instances(index_map, num_classes, min_area)
        evaluators.process([record], [{"instances": instances}])
    return evaluators.evaluate() or {}
