"""A stage of a pipeline with all that it is run with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from bestie_d2.engine.checks import check_config, check_sides_of_images
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.pipeline.data_hash import hash_of_data
from bestie_d2.engine.pipeline.definition import Pipeline
from bestie_d2.errors import InputError

# What is added to the training set's name where masks are trained on: exported, or true ones.
MASK_SETS = {"mrcnn": "_pseudo_labels", "mrcnn_truth": "_truth"}


@dataclass(frozen=True)
class StageJob:
    """One stage of a pipeline with its configurations.

    Attributes:
        name: of the stage.
        configs: by stage, of what is trained, used or evaluated, without what earlier stages make;
            several only for ``evaluate``.
    """

    pipeline: Pipeline
    name: str
    configs: dict[str, CfgNode]

    @staticmethod
    def load(pipeline: Pipeline, name: str) -> StageJob:
        """Load the configurations, with overrides and the pipeline's data sets.

        A stage that uses another's model takes that one's overrides too, then its own.

        Raises:
            InputError: names the file or key that is wrong.
        """
        owners = [name] if pipeline.kind_of(name).trains else pipeline.inputs_of(name)
        return StageJob(pipeline, name, {o: _config(pipeline, name, o) for o in owners})

    @property
    def folder(self) -> str:
        return self.pipeline.folder_of(self.name)

    @property
    def product(self) -> str:
        return self.pipeline.product_of(self.name)

    def config_hash(self) -> str:
        """SHA-256 of everything that the pipeline and its configurations say of the stage."""
        digest = hashlib.sha256(f"{self.pipeline.stages[self.name].score_threshold}".encode())
        for owner, cfg in self.configs.items():
            digest.update(f"\n{owner}\n{cfg.dump()}".encode())
        return digest.hexdigest()

    def data_hash(self) -> str:
        """SHA-256 of the data that is not made by another stage."""
        return hash_of_data(
            (self.pipeline.train_set, self.pipeline.test_set), self.configs.values()
        )


def _config(pipeline: Pipeline, stage: str, owner: str) -> CfgNode:
    """The configuration of ``owner``'s model as ``stage`` takes it."""
    entry = pipeline.stages[owner]
    own = pipeline.stages[stage].overrides if stage != owner else []
    try:
        cfg = load_config(entry.config, [*entry.overrides, *own]).clone()
        cfg.defrost()
        cfg.DATASETS.TRAIN = (pipeline.train_set + MASK_SETS.get(entry.kind, ""),)
        cfg.DATASETS.TEST = (pipeline.test_set,)
        cfg.OUTPUT_DIR = ""
        check_config(cfg)
        check_sides_of_images(cfg)  # not days later, when the stage begins
    except InputError as error:
        raise InputError(f"stage {stage}: {error}") from None
    supervision = cfg.MODEL.BESTIE.SUPERVISION
    if entry.kind == "bestie" and supervision != pipeline.supervision:
        raise InputError(
            f"stage {stage}: MODEL.BESTIE.SUPERVISION is {supervision!r}, but the pipeline's "
            f"supervision is {pipeline.supervision!r}"
        )
    for name in (pipeline.train_set, pipeline.test_set):
        if name not in DatasetCatalog:
            raise InputError(f"stage {stage}: data set {name!r} is not registered")
    cfg.freeze()
    return cfg
