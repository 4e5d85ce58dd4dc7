"""Cues of a data set by a trained PAM classifier: to a file, or only counted for several alphas."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from bestie_d2.data.paths import expand_path
from bestie_d2.errors import InputError
from bestie_d2.evaluation.weak_components import CueSummary
from bestie_d2.runs.cue_writer import CueRecipe, CueWriter
from bestie_d2.runs.labeling_source import LabelingSource
from bestie_d2.storage.processes import only_run_for
from bestie_d2.storage.results import ResultShards

CLASSIFIER = "PAMClassifier"


class CueSource(LabelingSource):
    """A data set and the classifier that finds its cues, both looked through."""

    @classmethod
    def open(cls, cfg: CfgNode, dataset_name: str, *, jobs: int, skip_bad: bool) -> LabelingSource:
        """As :meth:`LabelingSource.open`, which also refuses what is no PAM classifier."""
        if cfg.MODEL.META_ARCHITECTURE != CLASSIFIER:
            raise InputError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; cues come from a "
                f"{CLASSIFIER}, such as that of configs/pam_voc.yaml"
            )
        return super().open(cfg, dataset_name, jobs=jobs, skip_bad=skip_bad)

    @property
    def threshold(self) -> float:
        return self.cfg.DATASETS.CUE_THRESHOLD


def recipe_of(cfg: CfgNode, dataset_name: str) -> CueRecipe:
    """How cues are found and measured, by configuration.

    The data set's registered weak maps need not be there yet; ``DATASETS.WEAK_MAPS`` has to.

    Raises:
        InputError: it is not.
    """
    given = expand_path(cfg.DATASETS.WEAK_MAPS)
    if given and not os.path.isdir(given):
        raise InputError(f"DATASETS.WEAK_MAPS {given}: no such folder")
    node = cfg.MODEL.PAM.CUES
    return CueRecipe(
        extraction={
            "smoothing": node.SMOOTHING,
            "kernel": node.KERNEL,
            "min_score": node.MIN_SCORE,
            "max_per_class": node.MAX_PER_CLASS,
        },
        threshold=cfg.DATASETS.CUE_THRESHOLD,
        weak_maps=given or MetadataCatalog.get(dataset_name).get("weak_maps", ""),
        min_area=cfg.MODEL.BESTIE.MIN_AREA,
    )


def build_cue_writer(
    worker: int, *, output: str, categories: Sequence[dict], recipe: CueRecipe
) -> CueWriter:
    """What takes one process's maps, in that process."""
    return CueWriter(categories, ResultShards(output), recipe, worker=worker)


def extract_cue_file(source: CueSource, output: str, *, overwrite: bool = False) -> CueSummary:
    """Find the cues of all images and write them to one file; goes on where a run was stopped.

    Args:
        output: the file. It is replaced when all else has succeeded.
        overwrite: replace what is there, and throw away what runs of other settings left.

    Raises:
        InputError: from the data, the output, or an unreadable image.
    """
    recipe = recipe_of(source.cfg, source.dataset_name)
    shards = ResultShards(output)
    counted_with = {
        "DATASETS.CUE_THRESHOLD": recipe.threshold,
        "MODEL.BESTIE.MIN_AREA": recipe.min_area,
        "weak maps": recipe.weak_maps,
    }
    build = partial(build_cue_writer, output=output, categories=source.categories, recipe=recipe)
    settings = {**source.fingerprint(), **counted_with}
    with only_run_for(output):
        source.label_into(shards, settings, build, title="cues", overwrite=overwrite)
        return CueWriter(source.categories, shards, recipe, records=source.records).evaluate()


def with_alpha(cfg: CfgNode, alpha: float) -> CfgNode:
    """The configuration with another alpha; weights fit any.

    Raises:
        InputError: it is not in 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"--alpha {alpha:g}: expected 0 to 1")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.PAM.ALPHA = alpha
    cfg.freeze()
    return cfg


def count_for_alphas(source: CueSource, alphas: Sequence[float]) -> dict[float, CueSummary]:
    """The summary of the cues that each alpha gives; nothing is kept."""
    sources = {alpha: replace(source, cfg=with_alpha(source.cfg, alpha)) for alpha in alphas}
    summaries = {}
    for alpha, changed in sources.items():
        print(f"alpha {alpha:g}")
        with tempfile.TemporaryDirectory() as folder:
            summaries[alpha] = extract_cue_file(changed, os.path.join(folder, "cues.json"))
    return summaries
