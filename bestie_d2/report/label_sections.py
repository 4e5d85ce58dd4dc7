"""The sections about the labels of the training set: cues, and exported pseudo labels."""

from __future__ import annotations

from bestie_d2.report.page import paragraph
from bestie_d2.report.run_files import RunFiles
from bestie_d2.report.statistics import Mark, cue_statistics, label_statistics
from bestie_d2.report.training_set import TrainingSet


def cues_section(training_set: TrainingSet) -> list[str]:
    """Counts of the cues that were found or given."""
    labels = training_set.labels
    cues = [
        Mark(name, labels.class_names[class_id], score)
        for name, points in labels.cues_by_name.items()
        for class_id, score in zip(points.classes.tolist(), points.scores.tolist(), strict=True)
    ]
    if not cues:
        return [paragraph("No cues yet.")]
    return cue_statistics(cues, labels.class_names, len(labels.records), training_set.cue_threshold)


def pseudo_labels_section(run: RunFiles, training_set: TrainingSet) -> list[str]:
    """Counts of the labels that were exported."""
    exported = training_set.exported
    if training_set.problem:
        return [paragraph(f"Cannot be shown: {training_set.problem}")]
    if exported is None:
        return [paragraph("Not exported yet.")]
    names = training_set.labels.class_names
    labels = [
        Mark(image_id, names[label["category_id"]], label["score"])
        for image_id, found in exported.by_image.items()
        for label in found
    ]
    figures = run.finished("export")[-1].manifest["figures"]
    return label_statistics(labels, names, exported.images, figures)
