"""What a pipeline's yaml says: which stages there are, in which order, and what each is given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bestie_d2.engine.configuration import load_strict_yaml
from bestie_d2.engine.trainer import FINAL_CHECKPOINT
from bestie_d2.errors import InputError

POINTS = "points"
SUPERVISIONS = ("tags", POINTS)
TEXTS = ("name", "supervision", "output", "train_set", "test_set")


@dataclass(frozen=True)
class StageKind:
    """What is true of a stage in every pipeline.

    Attributes:
        product: what later stages read, a file or folder in the stage's own; "" if nothing.
        keys: what a pipeline says of the stage; ``weights_from`` may be left out, the others not.
        reads: kinds of stages whose products it reads if the pipeline has them before it.
        reads_all: it reads all stages of those kinds, not the last of each alone.
        needs: the one of them that the pipeline must have; a stage without a ``config`` of its own
            has the model of this one.
    """

    product: str
    keys: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    needs: str = ""
    reads_all: bool = False

    @property
    def trains(self) -> bool:
        return "config" in self.keys


TRAINING = ("config", "weights_from")
KINDS = {  # in the order in which they run
    "pam": StageKind(FINAL_CHECKPOINT, TRAINING),
    "cues": StageKind("cues.json", reads=("pam",), needs="pam"),
    "wsss": StageKind(FINAL_CHECKPOINT, TRAINING),
    "maps": StageKind("weak_maps", reads=("wsss",), needs="wsss"),
    "bestie": StageKind(FINAL_CHECKPOINT, TRAINING, reads=("cues", "maps", "export")),
    "export": StageKind("pseudo_labels.json", ("score_threshold",), ("bestie",), "bestie"),
    "mrcnn": StageKind(FINAL_CHECKPOINT, TRAINING, reads=("export",), needs="export"),
    "mrcnn_truth": StageKind(FINAL_CHECKPOINT, TRAINING),
    "evaluate": StageKind(
        "", reads=("bestie", "mrcnn", "mrcnn_truth"), needs="bestie", reads_all=True
    ),
}
REPEATED = ("bestie", "export")  # stages of a round of iterative training
ROUND = "_round"  # between the name of such a stage and the number of its round
FROM_TAGS = ("pam", "cues")  # stages that make the cues which point supervision gives


@dataclass(frozen=True)
class StageEntry:
    """What a pipeline says of one of its stages.

    Attributes:
        kind: its name in ``KINDS``.
        config: Detectron2 configuration file of what is trained.
        weights_from: the stage whose checkpoint training starts from; "" keeps ``MODEL.WEIGHTS``.
        score_threshold: labels that score lower are not exported.
        overrides: ``KEY VALUE`` pairs.
    """

    kind: str
    config: str = ""
    weights_from: str = ""
    score_threshold: float = 0.0
    overrides: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pipeline:
    """A chain of stages over one training and one test set.

    Attributes:
        supervision: one of ``SUPERVISIONS``.
        output: a folder with one for each stage.
        stages: by name, in the order in which they run. What a missing stage would have made must
            be registered with the data set, or named by the configurations of later stages.
    """

    name: str
    supervision: str
    output: str
    train_set: str
    test_set: str
    stages: dict[str, StageEntry]

    def folder_of(self, stage: str) -> str:
        return os.path.join(self.output, stage)

    def product_of(self, stage: str) -> str:
        return os.path.join(self.folder_of(stage), self.kind_of(stage).product)

    def kind_of(self, stage: str) -> StageKind:
        return KINDS[self.stages[stage].kind]

    def inputs_of(self, stage: str) -> list[str]:
        """The stages whose products a stage reads."""
        names, kind = list(self.stages), self.kind_of(stage)
        earlier = names[: names.index(stage)]
        reads = []
        for wanted in kind.reads:
            found = [name for name in earlier if self.stages[name].kind == wanted]
            reads += found if kind.reads_all else found[-1:]
        weights_from = self.stages[stage].weights_from
        return reads + ([weights_from] if weights_from else [])

    def check_stage(self, option: str, stage: str) -> None:
        """Refuse a name that is no stage of this pipeline."""
        if stage not in self.stages:
            known = ", ".join(self.stages)
            raise InputError(f"{option}: {stage!r} is no stage of {self.name}, which has {known}")


def read_pipeline(
    path: str, overrides: Sequence[str] = (), *, rounds: int = 0, configs_exist: bool = True
) -> Pipeline:
    """Read a pipeline file; paths of configurations in it are relative to its folder.

    Args:
        overrides: ``STAGE.KEY VALUE`` pairs; those of a stage hold for its rounds too.
        rounds: of iterative training: how often BESTIE is trained anew on its own exported labels
            (paper: Table 5).
        configs_exist: refuse a configuration file that is not there.

    Raises:
        InputError: no such file, or names the key or stage that is wrong.
    """
    where = f"--config {path}"
    content = load_strict_yaml(path, where)
    _check_keys(content, (*TEXTS, "stages"), (*TEXTS, "stages"), where)
    for key in TEXTS:
        if not isinstance(content[key], str) or not content[key]:
            raise InputError(f"{where}: {key} is {content[key]!r}, expected text")
    if content["supervision"] not in SUPERVISIONS:
        known = " or ".join(SUPERVISIONS)
        raise InputError(f"{where}: supervision is {content['supervision']!r}, expected {known}")
    if not isinstance(content["stages"], dict) or not content["stages"]:
        raise InputError(f"{where}: stages: expected stages of {', '.join(KINDS)}")
    unknown = [name for name in content["stages"] if name not in KINDS]
    if unknown:
        raise InputError(f"{where}: stages: {unknown[0]!r} is none of {', '.join(KINDS)}")
    folder = os.path.dirname(path)
    stages = {
        name: _read_entry(name, content["stages"][name], folder, where, configs_exist)
        for name in KINDS
        if name in content["stages"]
    }
    pipeline = Pipeline(**{key: content[key] for key in TEXTS}, stages=stages)
    _check_chain(pipeline, where)
    pipeline = _with_rounds(pipeline, rounds)
    _add_overrides(pipeline, overrides)
    return pipeline


def _check_keys(
    content: Mapping, known: Sequence[str], required: Sequence[str], where: str
) -> None:
    unknown = [key for key in content if key not in known]
    if unknown:
        raise InputError(
            f"{where}: unknown key {unknown[0]!r}, known are {', '.join(known) or 'none'}"
        )
    missing = [key for key in required if key not in content]
    if missing:
        raise InputError(f"{where}: {missing[0]!r} is missing")


def _read_entry(
    name: str, content: object, folder: str, where: str, configs_exist: bool
) -> StageEntry:
    where, keys = f"{where}: stages: {name}", KINDS[name].keys
    if not isinstance(content, dict):
        raise InputError(f"{where} is {content!r}, expected keys and values ({{}} for none)")
    _check_keys(content, keys, [key for key in keys if key != "weights_from"], where)
    threshold = content.get("score_threshold", 0.0)
    if type(threshold) not in (int, float) or not 0 <= threshold <= 1:
        raise InputError(f"{where}: score_threshold is {threshold!r}, expected 0 to 1")
    config = content.get("config", "")
    path = os.path.join(folder, str(config))
    if KINDS[name].trains and configs_exist and not os.path.isfile(path):
        raise InputError(f"{where}: config {path}: no such file")
    config = os.path.normpath(path) if config else ""
    return StageEntry(name, config, content.get("weights_from", ""), float(threshold))


def _check_chain(pipeline: Pipeline, where: str) -> None:
    """Refuse stages that need one which is not there."""
    earlier: list[str] = []
    for name, entry in pipeline.stages.items():
        needs = KINDS[name].needs
        if needs and needs not in pipeline.stages:
            raise InputError(f"{where}: the stage {name!r} needs {needs!r}, which is not there")
        if entry.weights_from and entry.weights_from not in earlier:
            known = ", ".join(earlier) or "none"
            raise InputError(
                f"{where}: stages: {name}: weights_from is {entry.weights_from!r}, but the "
                f"trainings before it are: {known}"
            )
        if pipeline.supervision == POINTS and name in FROM_TAGS:
            raise InputError(f"{where}: points are given as cues; leave out the stage {name!r}")
        earlier += [name] if KINDS[name].trains else []


def _with_rounds(pipeline: Pipeline, rounds: int) -> Pipeline:
    """Put the stages of each round behind the first export."""
    if not rounds:
        return pipeline
    if rounds < 0 or "export" not in pipeline.stages:
        raise InputError(f"--rounds {rounds}: expected 0 or more, and a stage 'export' to repeat")
    stages: dict[str, StageEntry] = {}
    for name, entry in pipeline.stages.items():
        stages[name] = entry
        if name != "export":
            continue
        for number in range(1, rounds + 1):
            for repeated in REPEATED:
                entry = replace(pipeline.stages[repeated], overrides=[])
                stages[f"{repeated}{ROUND}{number}"] = entry
    return replace(pipeline, stages=stages)


def _add_overrides(pipeline: Pipeline, overrides: Sequence[str]) -> None:
    if len(overrides) % 2:
        raise InputError(f"overrides come as STAGE.KEY VALUE pairs, got {' '.join(overrides)!r}")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        stage, _, own_key = key.partition(".")
        pipeline.check_stage(f"override {key}", stage)
        for name, entry in pipeline.stages.items():
            if name == stage or name.startswith(stage + ROUND):
                entry.overrides.extend([own_key, value])
