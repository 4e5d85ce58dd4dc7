"""A stage of a pipeline with all that it is run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from bestie_d2.checks.configuration import check_config, check_sides_of_images
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.model_keys import num_classes_key
from bestie_d2.pipeline.data_hash import states_of_data
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.dependencies import DEPENDENCIES, MADE_BY, WEIGHTS, Dependencies
from bestie_d2.pipeline.record import flattened
from bestie_d2.pipeline.sources import Sources

# What is added to the training set's name where masks are trained on: exported, or true ones.
MASK_SETS = {"mrcnn": "_pseudo_labels", "mrcnn_truth": "_truth"}
SCORE_THRESHOLD = "score_threshold"  # among the keys of a stage, beside its configuration's


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

    def sources(self, inputs: Mapping[str, str]) -> Sources:
        """What the stage is made from now.

        Args:
            inputs: hash of each product that it reads and that is made already, by stage.
        """
        entry = self.pipeline.stages[self.name]
        depends = DEPENDENCIES[entry.kind]
        models = tuple(self.configs) if len(self.configs) > 1 else ()
        config: dict[str, object] = {SCORE_THRESHOLD: entry.score_threshold}
        defaults: dict[str, object] = {SCORE_THRESHOLD: 0.0}
        counted = [SCORE_THRESHOLD]
        for owner, cfg in self.configs.items():
            prefix = f"{owner}." if models else ""
            own_node = num_classes_key(cfg).split(".")[1]
            values = flattened(cfg)
            counted += [prefix + key for key in values if depends.count(key, own_node)]
            config |= {prefix + key: value for key, value in values.items()}
            defaults |= {prefix + key: value for key, value in _default_values().items()}
        data = self._data_states(depends)
        return Sources(config, data, inputs, tuple(counted), defaults, models)

    def _data_states(self, depends: Dependencies) -> dict[str, str]:
        """The state of the data that is not made by another stage."""
        pipeline = self.pipeline
        made = {MADE_BY.get(pipeline.stages[name].kind) for name in pipeline.inputs_of(self.name)}
        made |= {WEIGHTS} if pipeline.stages[self.name].weights_from else set()
        parts = [part for part in depends.data if part not in made]
        cfg = next(iter(self.configs.values()))
        return states_of_data(parts, cfg, pipeline.train_set, pipeline.test_set)


@cache
def _default_values() -> dict[str, object]:
    """All keys of a configuration without a file."""
    return flattened(load_config())


def _config(pipeline: Pipeline, stage: str, owner: str) -> CfgNode:
    """The configuration of ``owner``'s model as ``stage`` takes it."""
    entry = pipeline.stages[owner]
    own = pipeline.stages[stage].overrides if stage != owner else []
    try:
        cfg = load_config(entry.config, [*entry.overrides, *own]).clone()
        cfg.defrost()
        cfg.DATASETS.TRAIN = (pipeline.train_set + MASK_SETS.get(entry.kind, ""),)
        cfg.DATASETS.TEST = (pipeline.test_set,)
        check_config(cfg)
        if stage == owner or own:  # else the stage that trains the model has been through this
            check_sides_of_images(cfg)  # not days later, when the stage begins
        cfg.OUTPUT_DIR = ""
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
