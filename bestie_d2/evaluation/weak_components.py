"""What weak maps give for free: each connected component of a class taken for one instance.

The figure that a model trained on these maps has to beat.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.structures import BitMasks, Instances
from detectron2.utils import comm

from bestie_d2.data.labels.attach import check_map_classes, weak_map_path
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.ops.components import class_components

COMPONENT_SCORE = 1.0  # a weak map does not say how sure it is
MIN_AREA = 50  # pixels; the released recipe's smallest component


def weak_component_instances(
    index_map: np.ndarray, num_classes: int, min_area: int = MIN_AREA
) -> Instances:
    """The 8-connected components of a weak map as predictions of score 1.

    Args:
        index_map: (H, W) uint8 WSSS indices.
        num_classes: C.
        min_area: smaller components are dropped, in pixels.

    Returns:
        ``pred_masks`` (N, H, W) bool, ``pred_boxes``, ``pred_classes`` and ``scores``, by class,
        then in raster order.
    """
    components = class_components(index_map, range(num_classes), min_area)
    masks = torch.zeros(len(components), *index_map.shape, dtype=torch.bool)
    for mask, component in zip(masks.numpy(), components, strict=True):
        mask[component.window] = component.mask
    instances = Instances(index_map.shape)
    instances.pred_masks = masks
    instances.pred_boxes = BitMasks(masks).get_bounding_boxes()
    instances.pred_classes = torch.tensor([c.class_id for c in components], dtype=torch.int64)
    instances.scores = torch.full((len(components),), COMPONENT_SCORE)
    return instances


def weak_component_predictions(
    records: Iterable[Mapping], weak_maps: str, num_classes: int, min_area: int = MIN_AREA
) -> Iterable[tuple[Mapping, Instances]]:
    """Each record with the components of its weak map, one image at a time.

    Args:
        records: with ``file_name``, ``height`` and ``width``.
        weak_maps: folder of ``<label name>.png``.
        num_classes, min_area: as in :func:`weak_component_instances`.

    Raises:
        InputError: a map is missing, unreadable or of another size than its image.
    """
    for record in records:
        path = weak_map_path(weak_maps, record)
        index_map = read_weak_sem_seg(path, num_classes, (record["height"], record["width"]))
        yield record, weak_component_instances(index_map, num_classes, min_area)


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
    """Feed the components of a data set's weak maps to evaluators, as if a model had found them.

    Every process takes its share of the images, so with several of them the evaluators must be
    distributed ones.

    Args:
        dataset_name: a registered data set with truth.
        evaluators: one or several, such as Detectron2's ``COCOEvaluator``.
        weak_maps: folder of index PNGs that replaces the registered one unless empty.
        min_area: smaller components are dropped, in pixels.

    Returns:
        What the evaluators return, in the main process.

    Raises:
        InputError: no folder of weak maps, or what :func:`weak_component_predictions` raises.
    """
    if dataset_name not in DatasetCatalog:
        raise InputError(f"data set {dataset_name!r} is not registered; see DATASETS.CUSTOM")
    records = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    folder = expand_path(weak_maps) or metadata.get("weak_maps")
    if not folder:
        raise InputError(f"data set {dataset_name!r} has no weak maps: set DATASETS.WEAK_MAPS")
    if not isinstance(evaluators, DatasetEvaluator):
        evaluators = DatasetEvaluators(list(evaluators))
    evaluators.reset()
    check_map_classes(folder, metadata.thing_classes)
    share = records[comm.get_rank() :: comm.get_world_size()]
    num_classes = len(metadata.thing_classes)
    for record, instances in weak_component_predictions(share, folder, num_classes, min_area):
        evaluators.process([record], [{"instances": instances}])
    return evaluators.evaluate() or {}
