"""The image grid: training images through all stages, test images through all trained models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from bestie_d2.pictures.dataset import MIN_SCORE, KnownLabels, spread_over
from bestie_d2.pictures.sheets import Layers
from bestie_d2.report.attempts import attempt, attempt_each
from bestie_d2.report.page import heading, paragraph
from bestie_d2.report.picture_row import row_of_pictures
from bestie_d2.report.predictions import predictions_of, taught_labels_of
from bestie_d2.report.run_files import RunFiles, StageFiles
from bestie_d2.report.training_set import TrainingSet

TRAINING_IMAGES, TEST_IMAGES = 8, 4  # shown, however many there are
FINDERS = ("bestie", "mrcnn", "mrcnn_truth")  # kinds of stages whose models find instances


def grid_section(run: RunFiles, training_set: TrainingSet) -> list[str]:
    """Images spread over both sets, with everything that is made or known of them."""
    return [
        *attempt(lambda: _training_images(run, training_set), "Training images"),
        *attempt(lambda: _test_images(run, training_set), "Test images"),
    ]


def _training_images(run: RunFiles, training_set: TrainingSet) -> list[str]:
    labels = training_set.labels
    records = spread_over(labels.records, TRAINING_IMAGES)
    learners = run.finished("bestie")[-1:]
    found, problems = attempt_each(
        learners, lambda stage: taught_labels_of(stage, run.pipeline.train_set, records), _name
    )
    taught = next(iter(found.values()), {})
    parts = [
        heading("Training images"),
        paragraph(
            f"{len(records)} of the {len(labels.records):,} images of {run.pipeline.train_set}. "
            "Cues are colored by class, as the weak map is; a ring is as closed as its cue is "
            "sure. Labels are colored one by one; foreground of the weak map that none of them "
            "covers is grey. Pseudo labels are what the last trained BESTIE is given: the "
            "components with exactly one cue, or in a later round the labels exported before. "
            "Refined labels are its own grouping of the weak map.",
            note=True,
        ),
        *problems,
    ]

    def row_of(record: dict) -> list[str]:
        layers = Layers(training_set.reader.read(record["file_name"]), labels.weak_map(record))
        layers.cues = training_set.used_cues(record)
        foreground = None if layers.weak_map is None else layers.weak_map > 0
        for title, found in taught.get(record["image_id"], {}).items():
            layers.instances[title] = replace(found, foreground=foreground)
        if training_set.exported is not None:
            layers.instances["exported labels"] = training_set.exported.masks_of(record)
        layers.instances |= labels.truth(record)
        return [row_of_pictures(record, layers, labels.class_names)]

    return [*parts, *_rows(records, row_of)]


def _test_images(run: RunFiles, training_set: TrainingSet) -> list[str]:
    parts = [heading("Test images")]
    models = run.finished(*FINDERS)
    if not models:
        return [*parts, paragraph("No model that finds instances has been trained yet.")]
    labels = KnownLabels(run.pipeline.test_set)
    records = spread_over(labels.records, TEST_IMAGES)
    predictions, problems = attempt_each(
        models, lambda stage: predictions_of(stage, records), _name
    )
    parts.append(
        paragraph(
            f"{len(records)} of the {len(labels.records):,} images of {run.pipeline.test_set}. "
            f"Predictions that score above {MIN_SCORE:g} are drawn, the surest on top.",
            note=True,
        )
    )

    def row_of(record: dict) -> list[str]:
        layers = Layers(training_set.reader.read(record["file_name"]))
        for name, found in predictions.items():
            layers.instances[f"prediction, {name}"] = found[record["image_id"]]
        layers.instances |= labels.truth(record)
        return [row_of_pictures(record, layers, labels.class_names)]

    return [*parts, *problems, *_rows(records, row_of)]


def _rows(records: Sequence[dict], row_of: Callable[[dict], list[str]]) -> list[str]:
    """The pictures of each image, or why there are none."""
    rows = (attempt(partial(row_of, record), record["file_name"]) for record in records)
    return [part for row in rows for part in row]


def _name(stage: StageFiles) -> str:
    return stage.name
