"""The training set of a run with the labels that BESTIE was, or will be, taught with."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode

from bestie_d2.data import ImageReader
from bestie_d2.errors import InputError
from bestie_d2.pictures.dataset import KnownLabels
from bestie_d2.report.exported import ExportedLabels
from bestie_d2.report.run_files import RunFiles
from bestie_d2.structures import PointCues


@dataclass(frozen=True)
class TrainingSet:
    """What the report knows of the training images.

    Attributes:
        labels: weak labels, where they are made or given, and truth, where it is known.
        reader: of the images.
        cue_threshold: cues that score higher are used.
        exported: the pseudo labels that were exported last, if any were.
        problem: what is wrong with them; "" for nothing.
    """

    labels: KnownLabels
    reader: ImageReader
    cue_threshold: float
    exported: ExportedLabels | None
    problem: str = ""

    @staticmethod
    def of(run: RunFiles, cfg: CfgNode) -> TrainingSet:
        """Read the labels.

        Args:
            cfg: of the training that learns from them, with its data sets registered.

        Raises:
            InputError: a file of weak labels is wrong.
        """
        labels = KnownLabels(
            run.pipeline.train_set,
            weak_maps=run.product_of("maps") or cfg.DATASETS.WEAK_MAPS,
            cues=run.product_of("cues") or cfg.DATASETS.CUES,
        )
        path = run.product_of("export")
        reader = ImageReader.from_config(cfg, "RGB")
        threshold = cfg.DATASETS.CUE_THRESHOLD
        try:
            exported = ExportedLabels.read(path, labels.class_names) if path else None
        except InputError as error:
            return TrainingSet(labels, reader, threshold, None, str(error))
        return TrainingSet(labels, reader, threshold, exported)

    def used_cues(self, record: dict) -> PointCues | None:
        """The cues of an image that are used; None where none are known."""
        cues = self.labels.cues(record)
        return None if cues is None else cues[cues.scores > self.cue_threshold]
