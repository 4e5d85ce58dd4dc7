"""The image grid: training images through all stages, test images through all trained models."""

from __future__ import annotations

from bestie_d2.engine.pictures import MIN_SCORE, KnownLabels, spread_over
from bestie_d2.engine.report.page import heading, paragraph
from bestie_d2.engine.report.picture_row import PictureRow
from bestie_d2.engine.report.predictions import predictions_of, taught_labels_of
from bestie_d2.engine.report.run_files import RunFiles
from bestie_d2.engine.report.training_set import TrainingSet

TRAINING_IMAGES, TEST_IMAGES = 8, 4  # shown, however many there are
FINDERS = ("bestie", "mrcnn", "mrcnn_truth")  # kinds of stages whose models find instances


def grid_section(run: RunFiles, training_set: TrainingSet) -> list[str]:
    """Images spread over both sets, with everything that is made or known of them."""
    return [*_training_images(run, training_set), *_test_images(run, training_set)]


def _training_images(run: RunFiles, training_set: TrainingSet) -> list[str]:
    labels = training_set.labels
    records = spread_over(labels.records, TRAINING_IMAGES)
    learners = run.finished("bestie")
    taught = taught_labels_of(learners[-1], run.pipeline.train_set, records) if learners else {}
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
    ]
    for record in records:
        index_map = labels.weak_map(record)
        row = PictureRow(record, labels.class_names, training_set.reader)
        row.add_cues(training_set.used_cues(record))
        row.add_weak_map(index_map)
        for title, found in taught.get(record["image_id"], {}).items():
            row.add_instances(title, found, index_map)
        if training_set.exported is not None:
            row.add_instances("exported labels", training_set.exported.masks_of(record))
        row.add_instances("truth", labels.truth(record))
        parts.append(row.html())
    return parts


def _test_images(run: RunFiles, training_set: TrainingSet) -> list[str]:
    parts = [heading("Test images")]
    models = run.finished(*FINDERS)
    if not models:
        return [*parts, paragraph("No model that finds instances has been trained yet.")]
    labels = KnownLabels(run.pipeline.test_set)
    records = spread_over(labels.records, TEST_IMAGES)
    predictions = {stage.name: predictions_of(stage, records) for stage in models}
    parts.append(
        paragraph(
            f"{len(records)} of the {len(labels.records):,} images of {run.pipeline.test_set}. "
            f"Predictions that score above {MIN_SCORE:g} are drawn, the surest on top.",
            note=True,
        )
    )
    for record in records:
        row = PictureRow(record, labels.class_names, training_set.reader)
        for name, found in predictions.items():
            row.add_instances(f"prediction, {name}", found[record["image_id"]])
        row.add_instances("truth", labels.truth(record))
        parts.append(row.html())
    return parts
