"""Cues of a data set by a trained PAM classifier: to a file, or only counted for several alphas."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from bestie_d2.data.paths import expand_path
from bestie_d2.engine.command_line import make_folder
from bestie_d2.engine.fingerprint import fingerprint
from bestie_d2.engine.labeling_run import (
    LabelingRun,
    pending,
    records_to_label,
    with_weights,
)
from bestie_d2.errors import InputError
from bestie_d2.evaluation.cue_summary import CueSummary
from bestie_d2.evaluation.cue_writer import CueRecipe, CueWriter
from bestie_d2.evaluation.result_shards import ResultShards
from bestie_d2.model_keys import num_classes

CLASSIFIER = "PAMClassifier"
# Keys that no cue depends on: those of other models, and of training.
IRRELEVANT = ("MODEL.BESTIE", "MODEL.WSSS", "INPUT.BESTIE", "INPUT.TAGS", "INPUT.MAPPER")


@dataclass(frozen=True)
class CueSource:
    """A data set and the classifier that finds its cues, both looked through.

    Attributes:
        cfg: with ``MODEL.WEIGHTS``.
        dataset_name: a registered data set.
        records: of all its images.
        categories: ``id`` and ``name`` of its classes in contiguous order.
        jobs, skip_bad: as in ``LabelingRun``.
    """

    cfg: CfgNode
    dataset_name: str
    records: list[dict]
    categories: list[dict]
    jobs: int = 1
    skip_bad: bool = False

    @staticmethod
    def open(cfg: CfgNode, dataset_name: str, *, jobs: int, skip_bad: bool) -> CueSource:
        """Read the data set's lists and see that there are weights.

        Raises:
            InputError: the model is no PAM classifier, weights or data set are not there, or the
                two do not go together.
        """
        if cfg.MODEL.META_ARCHITECTURE != CLASSIFIER:
            raise InputError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; cues come from a "
                f"{CLASSIFIER}, such as that of configs/pam_voc.yaml"
            )
        cfg = with_weights(cfg)
        records = records_to_label(dataset_name, num_classes(cfg), skip_bad=skip_bad)
        metadata = MetadataCatalog.get(dataset_name)
        ids = {index: own for own, index in metadata.thing_dataset_id_to_contiguous_id.items()}
        categories = [
            {"id": ids[index], "name": name} for index, name in enumerate(metadata.thing_classes)
        ]
        return CueSource(cfg, dataset_name, records, categories, jobs, skip_bad)

    @property
    def class_names(self) -> list[str]:
        return [category["name"] for category in self.categories]

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
    make_folder(os.path.dirname(output) or ".", "--output")
    shards = ResultShards(output)
    depends_on = fingerprint(source.cfg, source.records, source.dataset_name, ignored=IRRELEVANT)
    counted_with = {
        "DATASETS.CUE_THRESHOLD": recipe.threshold,
        "MODEL.BESTIE.MIN_AREA": recipe.min_area,
        "weak maps": recipe.weak_maps,
    }
    shards.begin({**depends_on, **counted_with}, overwrite=overwrite)
    left = pending(source.records, shards.done())
    if len(left) < len(source.records):
        print(f"{len(source.records) - len(left)} images are done already, {len(left)} to go")
    build = partial(build_cue_writer, output=output, categories=source.categories, recipe=recipe)
    LabelingRun(source.cfg, left, build, source.jobs, source.skip_bad, "cues").execute()
    if not shards.done():
        raise InputError(f"none of the {len(source.records)} images could be read")
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
