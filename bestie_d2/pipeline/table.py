"""What a table's yaml says: many runs of pipelines, in order, that share stages, and the lines of
the docs' table that their figures are for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bestie_d2.errors import InputError, naming
from bestie_d2.pipeline.definition import Pipeline, read_pipeline
from bestie_d2.storage.strict_yaml import load_strict_yaml

TEXTS = ("name", "output", "about")
ROW_KEYS = {  # what a row may say; all but the first two may be left out
    **{"name": str, "pipeline": str, "text": str, "seed": int, "until": str},
    **{"overrides": dict, "shares": dict, "lines": list},
}
REPEAT_KEYS = {"repeat": str, "seed": int}
SHARES_KEYS = {"from": str, "stages": list}
LINE_KEYS = {"of": str, "text": str, "paper": str, "readme": bool}


@dataclass(frozen=True)
class Row:
    """A run of a pipeline.

    Attributes:
        variant: the row that it repeats with another seed; its own name where it repeats none.
        seed: of all its trainings; None for those of their configurations.
        until: the last stage that is run; "" for all.
        overrides: values by STAGE.KEY.
        shares_from, shared: another row, and the stages that are taken from it.
        lines: of the docs' table. ``of`` is the stage, or what a stage measured, whose figures
            stand in it; ``text`` and ``paper``, the paper's figures; ``readme`` if it stands there.
    """

    name: str
    pipeline: str
    text: str = ""
    variant: str = ""
    seed: int | None = None
    until: str = ""
    overrides: Mapping[str, object] = field(default_factory=dict)
    shares_from: str = ""
    shared: tuple[str, ...] = ()
    lines: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class Table:
    """The rows in the order in which they are run, each with a folder in ``output``."""

    path: str
    name: str
    output: str
    about: str
    rows: dict[str, Row]

    def pipeline_of(self, row: Row) -> Pipeline:
        """The pipeline that makes a row; stages that it shares are configured, and lie, as in the
        row that makes them."""
        where, pairs = f"{self.path}: row {row.name}", []
        for key, value in row.overrides.items():
            pairs += [key, str(value)]
        file = os.path.normpath(os.path.join(os.path.dirname(self.path), row.pipeline))
        with naming(where):
            pipeline = read_pipeline(file, pairs)
            if row.until:
                pipeline.check_stage("until", row.until)
                names = list(pipeline.stages)
                kept = names[: names.index(row.until) + 1]
                pipeline = replace(pipeline, stages={name: pipeline.stages[name] for name in kept})
            for stage in row.shared:
                pipeline.check_stage("shares", stage)
        entries, shared = pipeline.stages, {}
        owner = self.pipeline_of(self.rows[row.shares_from]) if row.shares_from else pipeline
        for name in row.shared:
            ours, theirs = entries[name], owner.stages.get(name)
            if theirs is None or replace(theirs, overrides=[]) != replace(ours, overrides=[]):
                of = f"row {row.shares_from}"
                raise InputError(f"{where}: shares {name}, which {of} does not have, or not alike")
            if ours.overrides:
                raise InputError(f"{where}: shares {name}, so it cannot override its keys")
            entries[name] = theirs
            shared[name] = owner.shared.get(name, owner.output)
        for name in entries.keys() - shared.keys() if row.seed is not None else ():
            if pipeline.kind_of(name).trains:
                entries[name].overrides.extend(["SEED", str(row.seed)])
        output = os.path.join(self.output, row.name)
        name = f"{self.name}: {row.name}"
        return replace(pipeline, name=name, output=output, stages=entries, shared=shared)

    def command_of(self, row: Row) -> str:
        """The command that runs a row alone, from the project's folder."""
        path = os.path.relpath(self.path)
        path = path if not path.startswith("..") else os.path.basename(path)
        return f"python tools/run_table.py --config {path} --only {row.name}"


def read_table(path: str) -> Table:
    """Read a table's file; paths of pipelines in it are relative to its folder. All pipelines are
    read too, so that what is wrong with the last one is told before the first is run."""
    where = f"--config {path}"
    content = load_strict_yaml(path, where)
    _check(content, {**dict.fromkeys(TEXTS, str), "rows": list}, where, needed=(*TEXTS, "rows"))
    rows: dict[str, Row] = {}
    for number, entry in enumerate(content["rows"], 1):
        row = _read_row(entry, f"{where}: row {number}", rows)
        if row.name in rows:
            raise InputError(f"{where}: row {number}: the name {row.name!r} is taken")
        rows[row.name] = row
    table = Table(path, **{key: content[key] for key in TEXTS}, rows=rows)
    for row in rows.values():
        table.pipeline_of(row)
    return table


def _read_row(entry: object, where: str, rows: Mapping[str, Row]) -> Row:
    if isinstance(entry, dict) and "repeat" in entry:
        _check(entry, REPEAT_KEYS, where, needed=REPEAT_KEYS)
        return _repeated(entry["repeat"], entry["seed"], where, rows)
    _check(entry, ROW_KEYS, where, needed=("name", "pipeline"))
    assert isinstance(entry, dict)
    row, shares = {**entry, "variant": entry["name"]}, entry.get("shares", {})
    lines = entry.get("lines", [])
    if wrong := [key for key in entry.get("overrides", {}) if not isinstance(key, str)]:
        raise InputError(f"{where}: overrides has the key {wrong[0]!r}, expected STAGE.KEY")
    for line in lines:
        _check(line, LINE_KEYS, f"{where}: lines", needed=("of", "text"))
    if row.pop("shares", None) is not None:
        _check(shares, SHARES_KEYS, f"{where}: shares", needed=SHARES_KEYS)
        stages = shares["stages"]
        if not all(isinstance(stage, str) for stage in stages):
            raise InputError(f"{where}: shares: stages is {stages!r}, expected names of stages")
        row |= {"shares_from": shares["from"], "shared": tuple(stages)}
        _check_earlier(shares["from"], where, rows)
    return Row(**{**row, "lines": tuple(lines)})


def _repeated(name: str, seed: int, where: str, rows: Mapping[str, Row]) -> Row:
    """A row with another seed; what it shares is of the row with that seed too."""
    _check_earlier(name, where, rows)
    row = rows[name]
    shares_from = f"{row.shares_from}_seed{seed}" if row.shares_from else ""
    if shares_from:
        _check_earlier(shares_from, where, rows)
    return replace(row, name=f"{name}_seed{seed}", seed=seed, shares_from=shares_from)


def _check_earlier(name: str, where: str, rows: Mapping[str, Row]) -> None:
    if name not in rows:
        known = ", ".join(rows) or "none"
        raise InputError(f"{where}: needs the row {name!r} before it; before it are: {known}")


def _check(
    content: object, types: Mapping[str, type], where: str, *, needed: Sequence[str] | Mapping
) -> None:
    """Refuse what is no mapping of such keys to such values, or lacks one that is needed."""
    if not isinstance(content, dict):
        raise InputError(f"{where}: {content!r}, expected keys and values")
    for key, value in content.items():
        if key not in types:
            raise InputError(f"{where}: unknown key {key!r}, known are {', '.join(types)}")
        if type(value) is not types[key]:
            raise InputError(f"{where}: {key} is {value!r}, expected {types[key].__name__}")
    if missing := [key for key in needed if key not in content]:
        raise InputError(f"{where}: {missing[0]!r} is missing")
    if empty := [key for key in needed if content[key] in ("", [])]:
        raise InputError(f"{where}: {empty[0]} is empty")
