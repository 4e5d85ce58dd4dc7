"""Cues of a data set by a trained PAM classifier: to a file, or only counted for several alphas."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import Tensor
from tqdm import tqdm

from bestie_d2.data.labels.attach import (
    CUE_SCORE_THRESHOLD,
    classes_in_maps,
    registered_records,
    weak_map_path,
)
from bestie_d2.data.labels.cue_files import read_cues_of_records
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.kept_classes import KEPT, KeptClasses
from bestie_d2.data.names import label_name, relative_name
from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.evaluation import ObjectsByImage, has_truth, load_truth
from bestie_d2.evaluation.failures import judge_cues
from bestie_d2.evaluation.weak_components import MIN_AREA, CueSummary, count_cues
from bestie_d2.labeling.cues import activation_maps, extract_cues
from bestie_d2.model_keys import with_keys
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.storage.files import write_json_lists
from bestie_d2.storage.results import Results
from bestie_d2.structures import PointCues

CLASSIFIER, ALPHA = "PAMClassifier", "MODEL.PAM.ALPHA"
SCORE_DECIMALS = 6  # of the scores in the file


@dataclass(frozen=True)
class CueRecipe:
    """How cues are found, and what they are counted with."""

    extraction: Mapping[str, Any] = field(default_factory=dict)  # options of ``extract_cues``
    threshold: float = CUE_SCORE_THRESHOLD  # cues that score higher count; all are written
    weak_maps: str = ""  # folder of index PNGs to count the components of; "" for none
    min_area: int = MIN_AREA  # smaller components are passed over, in pixels

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_name: str) -> CueRecipe:
        """A model without cues is refused, and ``DATASETS.WEAK_MAPS`` that is not there; the data
        set's registered weak maps need not be there yet."""
        if cfg.MODEL.META_ARCHITECTURE != CLASSIFIER:
            raise InputError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; cues come from a "
                f"{CLASSIFIER}, such as that of configs/pam_voc.yaml"
            )
        given = expand_path(cfg.DATASETS.WEAK_MAPS)
        if given and not os.path.isdir(given):
            raise InputError(f"DATASETS.WEAK_MAPS {given}: no such folder")
        names = ("SMOOTHING", "KERNEL", "MIN_SCORE", "MAX_PER_CLASS")
        return cls(
            {name.lower(): cfg.MODEL.PAM.CUES[name] for name in names},
            cfg.DATASETS.CUE_THRESHOLD,
            given or MetadataCatalog.get(dataset_name).get("weak_maps", ""),
            cfg.MODEL.BESTIE.MIN_AREA,
        )


def extract_cue_file(
    run: LabelingRun, output: str, recipe: CueRecipe, *, overwrite: bool = False
) -> CueSummary:
    """Find the cues of all images and write them to one file; goes on where a run was stopped.

    The file is replaced when all else has succeeded; images that were left out are not in it.
    """
    settings = {
        **run.settings(),
        "DATASETS.CUE_THRESHOLD": recipe.threshold,
        "MODEL.BESTIE.MIN_AREA": recipe.min_area,
        "weak maps": recipe.weak_maps,
    }
    folder = recipe.weak_maps
    maps_kept = classes_in_maps(run.dataset_name, folder) if folder else None
    work = partial(cues_and_counts, recipe=recipe, maps_kept=maps_kept)
    with run.labeled(output, settings, work, "cues", overwrite=overwrite) as results:
        truth = load_truth(run.dataset_name) if has_truth(run.dataset_name) else None
        return write_cue_file(run, output, results, recipe.threshold, truth)


def write_cue_file(
    run: LabelingRun,
    output: str,
    results: Results,
    threshold: float,
    truth: ObjectsByImage | None = None,
) -> CueSummary:
    """Write the cue file, whole or not at all, and count what is in it; cues above a threshold are
    compared with the true objects."""
    summary = CueSummary(len(run.categories))

    def points() -> Iterator[dict[str, Any]]:
        for image_id, result in results.of(record["image_id"] for record in run.records):
            summary.add(result["counts"])
            if truth is not None:
                x, y, classes, scores = torch.tensor(result["points"]).reshape(-1, 4).unbind(dim=1)
                cues = PointCues(torch.stack([y, x], dim=1), classes.long(), scores)
                kinds = judge_cues(cues[scores > threshold], truth[image_id])
                summary.failures.update(kinds.counts())
            for x, y, class_id, score in result["points"]:
                ids = {"image_id": image_id, "category_id": run.categories[class_id]["id"]}
                yield {**ids, "point": [x, y], "score": score}

    write_json_lists(output, {**run.lists(results, relative_name), "points": points()})
    return summary


def cues_and_counts(
    record: dict, output: dict, *, recipe: CueRecipe, maps_kept: KeptClasses | None = None
) -> dict[str, Any]:
    """What is kept of an image, by the ``cams`` that the classifier gives; ``maps_kept`` where weak
    maps have the indices of more classes."""
    cues, _ = cues_of(output["cams"], record, recipe)
    weak_map, size = None, (record["height"], record["width"])
    if recipe.weak_maps:
        with suppress(InputError):  # cues do not depend on it; the summary says how many there were
            path = weak_map_path(recipe.weak_maps, record)
            weak_map = read_weak_sem_seg(path, len(output["cams"]), size, kept=maps_kept)
    counts = count_cues(
        cues,
        record["image_classes"],
        threshold=recipe.threshold,
        index_map=weak_map,
        min_area=recipe.min_area,
    )
    columns = (cues.pixels(), cues.classes.tolist(), cues.scores.tolist())
    points = [
        (x, y, class_id, round(score, SCORE_DECIMALS))
        for (y, x), class_id, score in zip(*columns, strict=True)
    ]
    return {"points": points, "counts": counts}


def cues_of(cams: Tensor, record: Mapping, recipe: CueRecipe) -> tuple[PointCues, Tensor]:
    """The cues of one image, in its pixels, for the classes that it is tagged with, and the
    (K, H, W) maps in [0, 1) that they were found on, both on the host.

    Args:
        cams: (C, h, w) float, maps before any ReLU, on any device.
        record: ``height``, ``width`` and ``image_classes`` of the image.
    """
    tags = list(record["image_classes"])
    maps = activation_maps(cams[tags].float().cpu(), (record["height"], record["width"]))
    return extract_cues(maps, tags, **recipe.extraction), maps


def count_cue_file(dataset_name: str, path: str, recipe: CueRecipe) -> CueSummary:
    """The summary of the cues that a file holds of a registered data set, in the recipe's maps."""
    records, metadata = registered_records(dataset_name), MetadataCatalog.get(dataset_name)
    classes, maps_kept = metadata.thing_classes, classes_in_maps(dataset_name, recipe.weak_maps)
    by_name = read_cues_of_records(path, records, classes=classes, kept=metadata.get(KEPT))
    summary = CueSummary(len(classes))
    for record in tqdm(records, desc="counting cues", unit="image", leave=False):
        size, cues = (record["height"], record["width"]), by_name.get(label_name(record))
        weak_map = weak_map_path(recipe.weak_maps, record)
        counts = count_cues(
            cues or PointCues.empty(),
            record["image_classes"],
            threshold=recipe.threshold,
            index_map=read_weak_sem_seg(weak_map, len(classes), size, kept=maps_kept),
            min_area=recipe.min_area,
        )
        summary.add(counts)
    return summary


def count_for_alphas(
    run: LabelingRun, recipe: CueRecipe, alphas: Sequence[float]
) -> dict[float, CueSummary]:
    """The summary of the cues that each alpha, in 0 to 1, gives; nothing is kept."""
    summaries = {}
    for alpha in alphas:
        print(f"alpha {alpha:g}")
        changed = replace(run, cfg=with_keys(run.cfg, {ALPHA: alpha}))  # weights fit any
        with tempfile.TemporaryDirectory() as folder:
            summaries[alpha] = extract_cue_file(changed, os.path.join(folder, "cues.json"), recipe)
    return summaries
