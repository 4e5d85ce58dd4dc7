"""Weak semantic maps of a registered data set by a trained network."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from detectron2.config import CfgNode

from bestie_d2.checks.training import classes_of
from bestie_d2.data.labels.index_png import check_class_limit
from bestie_d2.data.names import label_name
from bestie_d2.errors import InputError
from bestie_d2.evaluation.tag_scores import TAG_LOGIT
from bestie_d2.labeling.weak_maps import cams_to_index_map, to_index_map
from bestie_d2.model_keys import num_classes, num_classes_key
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.staged_maps import StagedMaps
from bestie_d2.storage.machine_shares import ONE_MACHINE, Machines
from bestie_d2.storage.processes import only_run_for
from bestie_d2.weights.class_names import CLASSES

SINGLE_STAGE, CAM = "single-stage", "cam"
ARCHITECTURES = {SINGLE_STAGE: "SingleStageWSSS", CAM: "PAMClassifier"}  # by method


@dataclass(frozen=True)
class MapRecipe:
    """How a network's output becomes a weak map."""

    method: str  # one of ARCHITECTURES
    cam_threshold: float = 0.3  # of "cam": smallest foreground, a share of the class's peak
    min_margin: float = 0.0  # of "single-stage": 255 where the two most probable are closer
    # of "cam": take the classes of the tags, else those that the classifier finds
    use_tags: bool = field(default=True, repr=False)

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
    machines: Machines = ONE_MACHINE,
    overwrite: bool = False,
    keep_finished: bool = False,
) -> int:
    """Make the weak map of every image of a registered data set (``overwrite``: also of those that
    have one, unless ``keep_finished`` leaves those of the same settings) and say how many were
    made.

    Goes on where a run was stopped; maps get to the folder ``output`` when all have been made. A
    model that does not suit the method, other maps there and an unreadable image are refused.
    Ends by ``ShareDone`` on a machine that is not the first one.
    """
    wanted, found = ARCHITECTURES[recipe.method], cfg.MODEL.META_ARCHITECTURE
    if wanted != found:
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {found!r}, but --method {recipe.method} needs {wanted!r}"
        )
    check_class_limit(num_classes_key(cfg), num_classes(cfg))
    run = LabelingRun.open(cfg, dataset_name, jobs=jobs, skip_bad=skip_bad, machines=machines)
    settings = {**run.settings(), "recipe": str(recipe), CLASSES: classes_of(dataset_name)}
    settings |= {} if recipe.use_tags else {"tags": "not used"}
    with machines.first_alone(only_run_for(output)):
        maps = StagedMaps(
            output, settings, machines=machines, overwrite=overwrite, keep_finished=keep_finished
        )

        def do(share: int) -> None:
            records = machines.share_of(run.records, share)
            left = [record for record in records if not maps.has(label_name(record))]
            run.execute(left, partial(_save_map, maps, recipe), "maps", maps.results)

        with machines.sharing(output, do):
            return maps.finish(map(label_name, run.records))


def _save_map(maps: StagedMaps, recipe: MapRecipe, record: dict, output: dict) -> None:
    if recipe.method == SINGLE_STAGE:
        index_map = to_index_map(output["sem_seg"], recipe.min_margin).cpu().numpy()
    else:  # other classes are out
        size, classes = (record["height"], record["width"]), record["image_classes"]
        if not recipe.use_tags:
            classes = torch.nonzero(output["tag_logits"] > TAG_LOGIT).flatten().tolist()
        index_map = cams_to_index_map(output["cams"], classes, size, recipe.cam_threshold)
    maps.save(label_name(record), index_map)
