"""A stage of a pipeline with all that it is made from: configurations, data, earlier products."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from bestie_d2.checks import training as checks
from bestie_d2.data import register_subset
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError, naming
from bestie_d2.model_keys import num_classes_key, with_keys
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.dependencies import CUES, DATA, MADE_BY, WEIGHTS, Hashes, counts
from bestie_d2.pipeline.state import NOT_MADE, Sources, StageRecord, flattened

# What is added to the training set's name where masks are trained on: exported, or true ones.
MASK_SETS = {"mrcnn": "_pseudo_labels", "mrcnn_truth": "_truth"}
SCORE_THRESHOLD = "score_threshold"  # among the keys of a stage, beside its configuration's


@cache
def _default_values() -> dict[str, object]:
    """All keys of a configuration without a file."""
    return flattened(load_config())


def sets_of(pipeline: Pipeline, cfg: CfgNode) -> tuple[str, str]:
    """The names of the training and the test set as a stage's configuration restricts them."""
    subset = cfg.DATASETS.SUBSET
    return register_subset(pipeline.train_set, subset), register_subset(pipeline.test_set, subset)


class StageJob:
    """One stage with its ``configs``, by stage, of what is trained, used or evaluated, without what
    earlier stages make; several only for ``evaluate``. A stage that uses another's model takes that
    one's overrides too, then its own."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.pipeline, self.name, self.entry = pipeline, name, pipeline.stages[name]
        self.folder, self.product = pipeline.folder_of(name), pipeline.product_of(name)
        self.record = StageRecord(self.folder)
        self.inputs = pipeline.inputs_of(name)
        # what earlier stages have made that it reads, by kind of stage
        self.products = {pipeline.stages[i].kind: pipeline.product_of(i) for i in self.inputs}
        trained = [i for i in self.inputs if pipeline.kind_of(i).trains]
        owners = [name] if pipeline.kind_of(name).trains else trained
        with naming(f"stage {name}"):
            self.configs = {owner: self._config(owner) for owner in owners}
        self.train_set, self.test_set = sets_of(pipeline, next(iter(self.configs.values())))

    def _config(self, owner: str) -> CfgNode:
        """The configuration of ``owner``'s model as this stage takes it."""
        pipeline, entry = self.pipeline, self.pipeline.stages[owner]
        others = self.entry.overrides if self.name != owner else []
        sets = {"TRAIN": pipeline.train_set, "TEST": pipeline.test_set}
        given = [word for key, name in sets.items() for word in (f"DATASETS.{key}", str((name,)))]
        cfg = load_config(entry.config, [*entry.overrides, *others, *given])
        if unknown := [name for name in sets.values() if name not in DatasetCatalog]:
            raise InputError(f"data set {unknown[0]!r} is not registered")
        if suffix := MASK_SETS.get(entry.kind):
            cfg = with_keys(cfg, {"DATASETS.TRAIN": (pipeline.train_set + suffix,)})
        checks.check_config(cfg)
        checks.check_batch(cfg, pipeline.processes if self.name == owner else 1)
        if self.name == owner or others:  # else the stage that trains the model has been through it
            checks.check_sides_of_images(cfg)  # not days later, when the stage begins
        supervision = cfg.MODEL.BESTIE.SUPERVISION
        if entry.kind == "bestie" and supervision != pipeline.supervision:
            raise InputError(
                f"MODEL.BESTIE.SUPERVISION is {supervision!r}, but the pipeline's supervision is "
                f"{pipeline.supervision!r}"
            )
        return with_keys(cfg, {"OUTPUT_DIR": ""})

    def sources(self, hashes: Hashes, pending: Collection[str] = ()) -> Sources:
        """What the stage is made from now; ``pending`` are stages that will be made before it."""
        kind, several = self.entry.kind, len(self.configs) > 1
        config: dict[str, object] = {SCORE_THRESHOLD: self.entry.score_threshold}
        counted: dict[str, object] = {SCORE_THRESHOLD: 0.0}
        for owner, cfg in self.configs.items():
            prefix, node = f"{owner}." if several else "", num_classes_key(cfg).split(".")[1]
            for key, value in flattened(cfg).items():
                config[prefix + key] = value
                if counts(kind, key, node):
                    counted[prefix + key] = _default_values().get(key)
        made = [MADE_BY.get(made_by) for made_by in self.products]
        made += [WEIGHTS] if self.entry.weights_from else []
        cfg = next(iter(self.configs.values()))
        centers = [CUES] if kind == "export" and cfg.MODEL.BESTIE.TEST.USE_POINTS else []
        parts = [part for part in (*DATA[kind], *centers) if part not in made]
        data = hashes.of_data(parts, cfg)
        inputs = dict.fromkeys(self.inputs, NOT_MADE)
        for name in inputs.keys() - set(pending):
            inputs[name] = hashes.of_product(self.pipeline.product_of(name))
        return Sources(config, data, inputs, counted)
