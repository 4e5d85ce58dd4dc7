"""What a pipeline's run has left on disk, finished or not, as the report reads it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import yaml
from detectron2.config import CfgNode

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import METRICS_FILE
from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.state import CONFIG_FILE, StageRecord


@dataclass(frozen=True)
class StageFiles:
    """A stage of a run.

    Attributes:
        kind: its name in ``pipeline.definition.KINDS``.
        product: what later stages read; there once the stage is finished.
        manifest: what the finished stage wrote down; None if it is not finished.
        started: whether it was ever begun.
        problem: what is wrong with what it wrote down; "" for nothing.
        failure: what stopped it when it was run last; "" for nothing.
        kept: names of the folders that were moved aside for it.
        config: text of the configuration that is trained; "" for a stage without a training, or
            before it.
    """

    name: str
    kind: str
    folder: str
    product: str
    manifest: dict | None
    started: bool
    problem: str
    failure: str
    kept: list[str]
    config: str

    @property
    def metrics(self) -> str:
        """Path of a training's measurements."""
        return os.path.join(self.folder, METRICS_FILE)

    @property
    def settings(self) -> dict:
        """The configuration as nested dicts; empty without one, or where it is no yaml."""
        try:
            content = yaml.safe_load(self.config)
        except yaml.YAMLError:
            return {}
        return content if isinstance(content, dict) else {}

    def load(self) -> CfgNode:
        """The configuration with the trained weights. The data sets are those that the pipeline
        registers: this one may name them where they lay before they were moved."""
        keys = ["MODEL.WEIGHTS", self.product, "DATASETS.CUSTOM", "[]"]
        return load_config(os.path.join(self.folder, CONFIG_FILE), keys)


@dataclass(frozen=True)
class RunFiles:
    """All stages of a run, in the order in which they run."""

    pipeline: Pipeline
    stages: list[StageFiles]

    @staticmethod
    def of(pipeline: Pipeline) -> RunFiles:
        """Look through the folders."""
        return RunFiles(pipeline, [_look_at(pipeline, name) for name in pipeline.stages])

    def finished(self, *kinds: str) -> list[StageFiles]:
        """The finished stages of these kinds."""
        return [stage for stage in self.stages if stage.manifest and stage.kind in kinds]

    def product_of(self, kind: str) -> str:
        """What the last finished stage of a kind has made; "" if there is none."""
        found = self.finished(kind)
        return found[-1].product if found else ""


def _look_at(pipeline: Pipeline, name: str) -> StageFiles:
    folder = pipeline.folder_of(name)
    record = StageRecord(folder)
    manifest, begun, failure, problem = None, False, "", ""
    try:
        manifest, begun, failure = record.manifest, record.started is not None, record.failure
    except InputError as error:
        problem = str(error)
    return StageFiles(
        name,
        pipeline.stages[name].kind,
        folder,
        pipeline.product_of(name),
        manifest,
        begun,
        problem,
        failure,
        record.kept,
        _text_of(os.path.join(folder, CONFIG_FILE)),
    )


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
