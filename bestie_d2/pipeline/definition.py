"""What a pipeline's yaml says: which stages there are, in which order, and what each is given."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bestie_d2.errors import InputError
from bestie_d2.shipped import config_path
from bestie_d2.storage.strict_yaml import load_strict_yaml
from bestie_d2.weights.checkpoint import FINAL_CHECKPOINT

SUPERVISIONS = {"tags": (), "points": ("cues",)}  # and the stages that it has no use for
PLACES = ("output", "train_set", "test_set")  # that the same pipeline may have several of
TEXTS = ("name", "supervision", *PLACES)


@dataclass(frozen=True)
class StageKind:
    """What is true of a stage in every pipeline."""

    product: str  # what later stages read, a file or folder in the stage's own; "" if nothing
    keys: tuple[str, ...] = ()  # what a pipeline says of it, some OPTIONAL
    reads: tuple[str, ...] = ()  # kinds of stages whose products it reads if they come before it
    needs: str = ""  # the kind that must be there; whose model is taken without a config
    reads_all: bool = False  # all stages of these kinds, not the last of each alone

    @property
    def trains(self) -> bool:
        return "config" in self.keys


FINDERS = ("bestie", "mrcnn", "mrcnn_truth")  # kinds of stages whose models find instances
TRAINING, OPTIONAL = ("config", "weights_from"), ("weights_from",)
KINDS = {  # in the order in which they run
    "pam": StageKind(FINAL_CHECKPOINT, TRAINING),
    "cues": StageKind("cues.json", reads=("pam",), needs="pam"),
    "wsss": StageKind(FINAL_CHECKPOINT, TRAINING),
    "maps": StageKind("weak_maps", reads=("wsss",), needs="wsss"),
    "cam_maps": StageKind("weak_maps", reads=("pam",), needs="pam"),
    "components": StageKind("", reads=("pam", "cues", "wsss", "maps", "cam_maps"), needs="pam"),
    "bestie": StageKind(FINAL_CHECKPOINT, TRAINING, reads=("cues", "maps", "cam_maps", "export")),
    "export": StageKind("pseudo_labels.json", ("score_threshold",), ("bestie",), "bestie"),
    "mrcnn": StageKind(FINAL_CHECKPOINT, TRAINING, reads=("export",), needs="export"),
    "mrcnn_truth": StageKind(FINAL_CHECKPOINT, TRAINING),
    "evaluate": StageKind("", (), FINDERS, "bestie", reads_all=True),
}
REPEATED = ("bestie", "export")  # stages of a round of iterative training
ROUND = "_round"  # between the name of such a stage and the number of its round


@dataclass(frozen=True)
class StageEntry:
    """What a pipeline says of one of its stages."""

    kind: str  # its name in KINDS
    config: str = ""  # Detectron2 configuration file of what is trained
    weights_from: str = ""  # the stage whose checkpoint training starts from; else MODEL.WEIGHTS
    score_threshold: float = 0.0  # labels that score lower are not exported
    overrides: list[str] = field(default_factory=list)  # KEY VALUE pairs


@dataclass(frozen=True)
class Pipeline:
    """Stages by name, in the order in which they run, each with a folder in ``output``, but for
    those that are ``shared`` with another pipeline: their folders are in its output.

    What a missing stage would have made must be registered with the data set, or named by the
    configurations of later stages.
    """

    name: str
    supervision: str
    output: str
    train_set: str
    test_set: str
    stages: dict[str, StageEntry]
    shared: Mapping[str, str] = field(default_factory=dict)  # a stage, and that other output
    jobs: int = 1  # processes that share the images where a stage labels them
    processes: int = 1  # that work together where a stage trains or evaluates

    def folder_of(self, stage: str) -> str:
        return os.path.join(self.shared.get(stage, self.output), stage)

    def product_of(self, stage: str) -> str:
        return os.path.join(self.folder_of(stage), self.kind_of(stage).product)

    def kind_of(self, stage: str) -> StageKind:
        return KINDS[self.stages[stage].kind]

    def inputs_of(self, stage: str) -> list[str]:
        """The stages whose products a stage reads."""
        names, kind, entry = list(self.stages), self.kind_of(stage), self.stages[stage]
        earlier, reads = names[: names.index(stage)], []
        for wanted in kind.reads:
            found = [name for name in earlier if self.stages[name].kind == wanted]
            reads += found if kind.reads_all else found[-1:]
        return [*reads, entry.weights_from] if entry.weights_from else reads

    def reduced_to(self, wanted: Collection[str]) -> Pipeline:
        """Some stages alone, with those whose products they need."""
        kept: set[str] = set()
        for name in reversed(self.stages):  # what a stage reads comes before it
            if name in wanted or name in kept:
                kept |= {name, *self.inputs_of(name)}
        stages = {name: entry for name, entry in self.stages.items() if name in kept}
        return replace(self, stages=stages)

    def check_stage(self, option: str, stage: str) -> None:
        """Refuse a name that is no stage of this pipeline."""
        if stage not in self.stages:
            known = ", ".join(self.stages)
            raise InputError(f"{option}: {stage!r} is no stage of {self.name}, which has {known}")


def read_pipeline(
    path: str, overrides: Sequence[str] = (), *, rounds: int = 0, configs_exist: bool = True
) -> Pipeline:
    """Read a pipeline file, the package's own where ``configs/pipelines/NAME.yaml`` is not there;
    paths of configurations in it are relative to its folder.

    Args:
        overrides: ``STAGE.KEY VALUE`` pairs, those of a stage hold for its rounds too; and pairs of
            one of ``PLACES`` and its value.
        rounds: how often BESTIE is trained anew on its own exported labels (paper: Table 5).
        configs_exist: refuse a configuration file that is not there.
    """
    path = config_path(path)
    where, listed = f"--config {path}", ", ".join(KINDS)
    content = load_strict_yaml(path, where)
    _check_keys(content, (*TEXTS, "stages"), where)
    for key in TEXTS:
        if not isinstance(content[key], str) or not content[key]:
            raise InputError(f"{where}: {key} is {content[key]!r}, expected text")
    supervision, entries = content["supervision"], content["stages"]
    if supervision not in SUPERVISIONS:
        known = " or ".join(SUPERVISIONS)
        raise InputError(f"{where}: supervision is {supervision!r}, expected {known}")
    where = f"{where}: stages:"
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{where} expected stages of {listed}")
    if unknown := [name for name in entries if name not in KINDS]:
        raise InputError(f"{where} {unknown[0]!r} is none of {listed}")
    if rounds < 0 or (rounds and "export" not in entries):
        raise InputError(f"--rounds {rounds}: expected 0 or more, and a stage 'export' to repeat")
    stages: dict[str, StageEntry] = {}
    for name in (name for name in KINDS if name in entries):
        trained = [other for other in KINDS if other in stages and KINDS[other].trains]
        entry = _read_entry(name, entries[name], f"{where} {name}", path, configs_exist)
        if (needs := KINDS[name].needs) and needs not in entries:
            raise InputError(f"{where} the stage {name!r} needs {needs!r}, which is not there")
        if entry.weights_from and entry.weights_from not in trained:
            raise InputError(
                f"{where} {name}: weights_from is {entry.weights_from!r}, but the trainings "
                f"before it are: {', '.join(trained) or 'none'}"
            )
        if name in SUPERVISIONS[supervision]:
            raise InputError(f"{where} points are given as cues; leave out the stage {name!r}")
        stages[name] = entry
        for number in range(1, rounds + 1) if name == "export" else ():
            for repeated in REPEATED:
                stages[f"{repeated}{ROUND}{number}"] = replace(stages[repeated], overrides=[])
    if {"maps", "cam_maps"} <= stages.keys():
        raise InputError(f"{where} 'maps' and 'cam_maps' both make the weak maps; leave one out")
    if len(overrides) % 2:
        raise InputError(f"overrides come as STAGE.KEY VALUE pairs, got {' '.join(overrides)!r}")
    pairs = list(zip(overrides[::2], overrides[1::2], strict=True))
    content |= {key: value for key, value in pairs if key in PLACES}
    pipeline = Pipeline(**{key: content[key] for key in TEXTS}, stages=stages)
    for key, value in (pair for pair in pairs if pair[0] not in PLACES):
        stage, _, config_key = key.partition(".")
        pipeline.check_stage(f"override {key}", stage)
        for name, entry in stages.items():
            if name == stage or name.startswith(stage + ROUND):
                entry.overrides.extend([config_key, value])
    return pipeline


def _check_keys(content: Mapping, known: Sequence[str], where: str) -> None:
    if unknown := [key for key in content if key not in known]:
        listed = ", ".join(known) or "none"
        raise InputError(f"{where}: unknown key {unknown[0]!r}, known are {listed}")
    if missing := [key for key in known if key not in content and key not in OPTIONAL]:
        raise InputError(f"{where}: {missing[0]!r} is missing")


def _read_entry(name: str, content: object, where: str, path: str, exists: bool) -> StageEntry:
    if not isinstance(content, dict):
        raise InputError(f"{where} is {content!r}, expected keys and values ({{}} for none)")
    _check_keys(content, KINDS[name].keys, where)
    threshold = content.get("score_threshold", 0.0)
    if type(threshold) not in (int, float) or not 0 <= threshold <= 1:
        raise InputError(f"{where}: score_threshold is {threshold!r}, expected 0 to 1")
    config = content.get("config", "")
    file = os.path.join(os.path.dirname(path), str(config))
    if KINDS[name].trains and exists and not os.path.isfile(file):
        raise InputError(f"{where}: config {file}: no such file")
    config = os.path.normpath(file) if config else ""
    return StageEntry(name, config, content.get("weights_from", ""), float(threshold))
