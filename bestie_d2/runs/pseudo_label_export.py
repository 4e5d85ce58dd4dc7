"""Pseudo labels of a data set by a trained model, into one COCO file."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from detectron2.data import MetadataCatalog

from bestie_d2.errors import InputError
from bestie_d2.evaluation import has_truth, load_truth
from bestie_d2.evaluation.label_quality import PseudoLabelReport
from bestie_d2.evaluation.tasks import INSTANCES, task_of
from bestie_d2.runs.coco_writer import LabeledDataset, LabelRecipe, PseudoLabelWriter
from bestie_d2.runs.labeling_source import LabelingSource
from bestie_d2.storage.processes import only_run_for
from bestie_d2.storage.results import ResultShards

DESCRIPTION = "pseudo labels: what a model that was trained on weak labels makes of these images"
DETECTIONS = "TEST.DETECTIONS_PER_IMAGE"  # the one key outside MODEL and INPUT: Detectron2's models


def build_label_writer(worker: int, *, output: str, recipe: LabelRecipe) -> PseudoLabelWriter:
    """What takes one process's instances, in that process."""
    return PseudoLabelWriter(ResultShards(output), recipe, worker=worker)


def export_pseudo_labels(
    source: LabelingSource, output: str, recipe: LabelRecipe, *, overwrite: bool = False
) -> PseudoLabelReport:
    """Label all images and write the labels to one file; goes on where a run was stopped.

    Args:
        output: the file. It is replaced when all else has succeeded.
        overwrite: replace what is there, and throw away what runs of other settings left.

    Raises:
        InputError: the model finds no instances, or from the data, the output, or an unreadable
            image.
    """
    if task_of(source.cfg) is not INSTANCES:
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {source.cfg.MODEL.META_ARCHITECTURE!r}, which finds no "
            "instances; pseudo labels come from BESTIE or a model of Detectron2's"
        )
    if not MetadataCatalog.get(source.dataset_name).get("image_root"):
        raise InputError(
            f"data set {source.dataset_name!r} has no image_root in its metadata: the folder that "
            "image names in the file are relative to"
        )
    detections = {DETECTIONS: str(source.cfg.TEST.DETECTIONS_PER_IMAGE)}
    depends_on = {**source.fingerprint(), **detections}
    shards = ResultShards(output)
    build = partial(build_label_writer, output=output, recipe=recipe)
    settings = {**depends_on, **asdict(recipe)}
    with only_run_for(output):
        source.label_into(shards, settings, build, title="labels", overwrite=overwrite)
        return _write_labels(source, shards, recipe, depends_on)


def _write_labels(
    source: LabelingSource, shards: ResultShards, recipe: LabelRecipe, depends_on: dict[str, str]
) -> PseudoLabelReport:
    """From the results of single images to the file."""
    truth = load_truth(source.dataset_name) if has_truth(source.dataset_name) else None
    info = _info(source, depends_on, recipe)
    image_root = MetadataCatalog.get(source.dataset_name).image_root
    dataset = LabeledDataset(info, source.records, source.categories, image_root, truth)
    return PseudoLabelWriter(shards, recipe, dataset=dataset).evaluate()


def _info(source: LabelingSource, depends_on: dict[str, str], recipe: LabelRecipe) -> dict:
    """Where the labels come from; the same on every machine and at any time."""
    tagged = any("image_classes" in record for record in source.records)
    return {
        "description": DESCRIPTION,
        "dataset": source.dataset_name,
        "weights": depends_on["weights"],  # SHA-256 of the file
        "untagged_classes_removed": recipe.use_tags and tagged,
        "score_threshold": recipe.score_threshold,
        "min_area": recipe.min_area,
        "top_k": recipe.top_k,
        "config": {key: value for key, value in depends_on.items() if "." in key},
    }
