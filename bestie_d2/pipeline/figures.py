"""The figures that a stage of a pipeline is judged by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

HEADLINES = {  # metrics of an evaluation, and how the table calls them
    "image_tags/mAP": "mAP of tags",
    "sem_seg/mIoU": "mIoU",
    "segm/AP": "AP",
    "segm/AP50": "AP50",
    "voc_instance/mAP50": "VOC mAP50",
}


@dataclass(frozen=True)
class Figures:
    """What a stage is judged by: all values by name, and the few for the table as text."""

    values: dict[str, float | None]
    text: str


def headlines(metrics: Mapping[str, float]) -> Figures:
    """Of everything that was measured, what the table shows."""
    values = {key: finite(metrics[key]) for key in HEADLINES if key in metrics}
    words = (f"{HEADLINES[key]} {shown(value)}" for key, value in values.items())
    return Figures(values, ", ".join(words))


def finite(value: float) -> float | None:
    """A JSON value: None for what is no number."""
    return float(value) if math.isfinite(value) else None


def shown(value: float | None) -> str:
    """A figure as the table has it."""
    return "-" if value is None else f"{value:.1f}"
