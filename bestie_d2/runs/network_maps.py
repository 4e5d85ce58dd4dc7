"""Weak semantic maps by a trained network: the single-stage WSSS model, or a classifier's CAMs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from detectron2.config import CfgNode

from bestie_d2.checks.configuration import classes_of
from bestie_d2.data.labels.index_png import check_class_limit
from bestie_d2.data.names import label_name
from bestie_d2.errors import InputError
from bestie_d2.labeling.weak_maps import cams_to_index_map, to_index_map
from bestie_d2.model_keys import num_classes, num_classes_key
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.staged_maps import StagedMaps
from bestie_d2.storage.processes import only_run_for
from bestie_d2.weights.class_names import CLASSES

SINGLE_STAGE, CAM = "single-stage", "cam"
ARCHITECTURES = {SINGLE_STAGE: "SingleStageWSSS", CAM: "PAMClassifier"}  # by method
METHODS = tuple(ARCHITECTURES)


@dataclass(frozen=True)
class MapRecipe:
    """How a network's output becomes a weak map.

    Attributes:
        method: one of ``METHODS``.
        cam_threshold: smallest activation of the foreground, a share of the class's peak (``cam``).
        min_margin: pixels whose two most probable classes are closer become 255 (``single-stage``).
    """

    method: str
    cam_threshold: float = 0.3
    min_margin: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cam_threshold", "min_margin"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"--{name.replace('_', '-')} {value:g}: expected 0 to 1")


def make_network_maps(
    cfg: CfgNode,
    dataset_name: str,
    output: str,
    recipe: MapRecipe,
    *,
    jobs: int = 1,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> int:
    """Make the weak map of every image of a registered data set and say how many were made.

    Goes on where a run was stopped; maps get to the folder ``output`` when all have been made.

    Args:
        jobs, skip_bad: as in ``LabelingRun``.
        overwrite: make maps anew that are there already.

    Raises:
        InputError: the model does not suit the method, no weights, other maps in the folder, or an
            unreadable image.
    """
    wanted = ARCHITECTURES[recipe.method]
    if wanted != cfg.MODEL.META_ARCHITECTURE:
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}, but --method "
            f"{recipe.method} needs {wanted!r}"
        )
    check_class_limit(num_classes_key(cfg), num_classes(cfg))
    run = LabelingRun.open(cfg, dataset_name, jobs=jobs, skip_bad=skip_bad)
    settings = {**run.settings(), "recipe": str(recipe), CLASSES: classes_of(dataset_name)}
    maps = StagedMaps(output)
    with only_run_for(output):
        maps.begin(settings, overwrite=overwrite)
        left = [record for record in run.records if not maps.has(label_name(record))]
        run.execute(left, partial(_save_map, maps, recipe), "maps")
        return maps.finish(map(label_name, run.records))


def _save_map(maps: StagedMaps, recipe: MapRecipe, record: dict, output: dict) -> None:
    if recipe.method == SINGLE_STAGE:
        index_map = to_index_map(output["sem_seg"], recipe.min_margin).cpu().numpy()
    else:  # untagged classes are out
        size = (record["height"], record["width"])
        tags = record["image_classes"]
        index_map = cams_to_index_map(output["cams"], tags, size, recipe.cam_threshold)
    maps.save(label_name(record), index_map)
