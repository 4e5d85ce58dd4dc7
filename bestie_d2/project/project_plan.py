"""What a new project is to be: what the user asks for, and what is known before it is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.labeling.thresholds import ForegroundRecipe
from bestie_d2.project.labeled_set import LabeledSet
from bestie_d2.project.object_sizes import ObjectSizes
from bestie_d2.project.project_settings import CPU, GPU, Machine

PIPELINE, TRAIN_LABELS, VAL_TRUTH = "pipeline.yaml", "labels_train.json", "truth_val.json"
PAM, WSSS, BESTIE = "pam", "wsss", "bestie"  # configurations and stages


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        kind: of the labels, as :func:`bestie_d2.project.labeled_set.read_labels` has it.
        truth: a COCO file of true objects; "" if there is none but perhaps the labels themselves.
        val_share: of the pictures with truth, where all have labels.
        hours: for all trainings together; None for their usual length.
    """

    images: str
    labels: str
    output: Path
    kind: str = ""
    truth: str = ""
    val_share: float = 0.2
    hours: float | None = None


@dataclass
class Plan:
    """What is known before anything is written."""

    request: Request
    labeled: LabeledSet
    train: list[dict]
    val: list[dict]
    sizes: ObjectSizes
    threshold: ForegroundRecipe | None  # of sets of points of one class

    def place(self, name: str) -> str:
        """The path of a file of the project."""
        return os.path.join(os.path.abspath(self.request.output), name)

    @property
    def machine(self) -> Machine:
        return GPU if torch.cuda.is_available() else CPU

    @property
    def stages(self) -> tuple[str, ...]:
        """The trainings, in order."""
        if self.threshold:
            return (BESTIE,)
        if self.finds_cues or self.machine is CPU:  # in few iterations WSSS needs it to start from
            return (PAM, WSSS, BESTIE)
        return (WSSS, BESTIE)

    @property
    def finds_cues(self) -> bool:
        """Whether the classifier is to find the points."""
        return self.labeled.kind != POINTS

    @property
    def set_names(self) -> tuple[str, str]:
        name = Path(self.place("")).name
        return f"{name}_train", f"{name}_val"

    @property
    def train_labels(self) -> str:
        """The file of the labels that are trained on."""
        if len(self.train) < len(self.labeled.records):
            return self.place(TRAIN_LABELS)
        return os.path.abspath(self.request.labels)
