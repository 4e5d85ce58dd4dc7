"""From what a stage was made, as its folder says it, and what of that is not as it was.

Nothing of a stage is ever deleted: what is made anew is moved aside first, in one step.
"""

from __future__ import annotations

import glob
import json
import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import detectron2
import torch
import yaml

from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder, write_json
from bestie_d2.storage.processes import LOCK_FILE

STARTED, MANIFEST, FAILED = "started.json", "manifest.json", "failed.json"
CONFIG_FILE, LOG_FILE = "config.yaml", "log.txt"  # a training's own, and a stage's
MOVE = "move its folder away to make the stage anew"
SOURCES = ("config", "inputs")
WRITTEN = (*SOURCES, "versions", "seconds", "figures", "text")  # in every manifest
DATA = "data"  # among the inputs of a record of an older version: the hash of all data
# Of what is written, where it is there; a configuration is text in an older version.
TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("inputs", DATA, "figures"), ((dict,), "JSON object")),
    "config": ((dict, str), "JSON object"),
    "seconds": ((int, float), "number"),
}
# In the folder of a stage that has made nothing yet, and of one without a checkpoint or label.
TRACES = {STARTED, FAILED, LOG_FILE, CONFIG_FILE, "classes.json"}
MEASURED = ("metrics.json", "events.out.tfevents.")

WIDTH = 60  # letters of a value that are printed
SHOWN = 8  # changes of a stage that are printed, before they are only counted
NOT_READ, NOT_MADE = "not read", "not made yet"  # in place of the hash of a product


@dataclass(frozen=True)
class Found:
    """What a stage's folder says that it was made, or begun, from; see :class:`Sources`.

    ``config`` and ``data`` are None where an older version wrote down a hash alone.
    """

    config: Mapping[str, object] | None
    data: Mapping[str, str] | None
    inputs: Mapping[str, str]
    finished: bool
    instead_of: str = ""  # the folder that was moved aside for it

    @property
    def not_compared(self) -> str:
        """What an older version did not write down; "" if it is all there."""
        missing = {"configuration": self.config, "data": self.data}
        names = " and ".join(name for name, values in missing.items() if values is None)
        return f"written by an older version, {names} not compared" if names else ""


@dataclass(frozen=True)
class Change:
    """Something that is not as it was; ``stage`` is the one whose product it is, if it is one."""

    what: str
    before: object
    now: object
    stage: str = ""

    def __str__(self) -> str:
        values = (v if isinstance(v, str) else json.dumps(v) for v in (self.before, self.now))
        was, now = (v if len(v) <= WIDTH else f"{v[:WIDTH]}..." for v in values)
        return f"{self.what} was {was}, is {now}"


def described(changes: Sequence[Change]) -> list[str]:
    """A line for each of the first changes, and how many more there are."""
    more = len(changes) - SHOWN
    return [*map(str, changes[:SHOWN]), *([f"and {more} more"] if more > 0 else [])]


@dataclass(frozen=True)
class Sources:
    """What a stage is made from now."""

    config: Mapping[str, object]  # all that the pipeline and its configurations say of it, by key
    data: Mapping[str, str]  # state of each part of the data that no stage makes
    inputs: Mapping[str, str]  # hash of each product that it reads, by the name of its stage
    counted: Collection[str] = ()  # the keys that its product depends on
    defaults: Mapping[str, object] = field(default_factory=dict)  # for records that had fewer keys
    models: Collection[str] = ()  # stages whose names are before the keys, where there are several

    @property
    def content(self) -> dict[str, object]:
        """What is written down: all keys, as what counts may change."""
        return {"config": self.config, DATA: self.data, "inputs": self.inputs}

    def changes(self, found: Found, *, pending: Collection[str] = ()) -> list[Change]:
        """What counts and is not as a run found it.

        A key that the record does not have was at its default; one that the configuration does not
        have any more does not count.

        Args:
            pending: stages whose products are not made yet: theirs are left out, if they were read.
        """
        changes = []
        before = found.config or {}
        # a model that was not there is told as a product that was not read
        new = set(self.models) - {key.partition(".")[0] for key in before}
        for key in self.counted if found.config is not None else ():
            was, now = before.get(key, self.defaults.get(key)), self.config[key]
            if was != now and key.partition(".")[0] not in new:
                changes.append(Change(key, was, now))
        for part, state in self.data.items():
            # what a stage makes in place of a part is among the inputs
            was = (found.data or {}).get(part, state)
            if was != state:
                changes.append(Change(part, was, state))
        made = {**self.inputs, **{name: found.inputs.get(name, NOT_MADE) for name in pending}}
        for name in {**found.inputs, **made}:
            was, now = (inputs.get(name, NOT_READ) for inputs in (found.inputs, made))
            if was != now:
                changes.append(Change(f"product of {name}", was, now, name))
        return changes


class StageRecord:
    """The folder of a stage. ``started.json`` is there from its start, ``failed.json`` when it was
    stopped by an error, ``manifest.json`` when it is finished; all are written whole or not at all,
    and None stands for what is not there.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @property
    def manifest(self) -> dict | None:
        """What the finished stage wrote down."""
        return _read(self._folder / MANIFEST, WRITTEN)

    @property
    def started(self) -> dict | None:
        """What the stage was last begun from."""
        return _read(self._folder / STARTED, ())

    @property
    def failure(self) -> str:
        """What stopped the stage when it was run last, in a line; "" for nothing."""
        return (_read(self._folder / FAILED, ("line",)) or {"line": ""})["line"]

    @property
    def found(self) -> Found | None:
        """What the stage was made or begun from; None if it never was begun."""
        manifest = self.manifest
        content = (self.started if manifest is None else manifest) or {}
        if not content.keys() >= set(SOURCES):  # killed as it was begun
            return None
        config, data = content["config"], content.get(DATA)
        inputs = {name: value for name, value in content["inputs"].items() if name != DATA}
        if isinstance(config, str):  # an older version's hash: a training has its configuration
            config, data = None, None
            with suppress(OSError, yaml.YAMLError):
                values = yaml.safe_load((self._folder / CONFIG_FILE).read_text(encoding="utf-8"))
                config = flattened(values) if isinstance(values, dict) else None
        return Found(config, data, inputs, manifest is not None, content.get("instead_of", ""))

    @property
    def has_results(self) -> bool:
        """Whether there is more than logs and measurements, such as a checkpoint."""
        return any(not name.startswith(MEASURED) for name in self._left())

    def _left(self) -> list[str]:
        """What a run has left, apart from what every run begins with."""
        if not self._folder.is_dir():
            return []
        names = [path.name for path in self._folder.iterdir()]
        return [name for name in names if name not in TRACES and not name.endswith(LOCK_FILE)]

    @property
    def kept(self) -> list[str]:
        """Names of the folders that were moved aside, by number."""
        beside = self._folder.parent.glob(f"{glob.escape(self._folder.name)}.*")
        parts = [path.name.removeprefix(f"{self._folder.name}.") for path in beside]
        numbers = sorted(int(part) for part in parts if part.isdecimal())
        return [f"{self._folder.name}.{number}" for number in numbers]

    def next_kept(self) -> Path:
        """Where the folder would be moved."""
        last = int(self.kept[-1].rpartition(".")[2]) if self.kept else 0
        return self._folder.with_name(f"{self._folder.name}.{last + 1}")

    def set_aside(self) -> None:
        """Move the folder to ``<stage>.1`` (``.2``, ...), in one step, if a run has left anything.

        Raises:
            InputError: it holds something and is not a stage's, or it can't be moved.
        """
        if not self._left():
            return
        if self.started is None and self.manifest is None:
            raise InputError(f"{self._folder} holds files of something else: choose another output")
        (self._folder / LOCK_FILE).unlink(missing_ok=True)
        try:
            self._folder.rename(self.next_kept())
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be moved ({error.strerror})") from None

    def begin(self, sources: Sources, *, resume: bool) -> None:
        """Make the folder ready; what it holds is gone on with, or was set aside.

        Args:
            resume: the sources that it was begun with stay written down.
        """
        make_folder(self._folder, "output")
        if not resume:
            instead_of = self.kept[-1] if self.kept else ""
            write_json(self._folder / STARTED, {**sources.content, "instead_of": instead_of})
        (self._folder / FAILED).unlink(missing_ok=True)

    def fail(self, line: str) -> None:
        """Write down what stopped the stage."""
        write_json(self._folder / FAILED, {"line": line})

    def finish(self, sources: Sources, **result: object) -> None:
        """Write the manifest."""
        versions = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "detectron2": detectron2.__version__,
            "bestie_d2": version("bestie_d2"),
        }
        instead_of = (self.started or {}).get("instead_of", "")
        content = {**sources.content, "instead_of": instead_of, "versions": versions, **result}
        write_json(self._folder / MANIFEST, content)


def flattened(node: Mapping, prefix: str = "") -> dict[str, object]:
    """Nested keys and values as ``A.B.C``, with JSON values."""
    values: dict[str, object] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            values |= flattened(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = json.loads(json.dumps(value, default=str))
    return values


def _read(path: Path, keys: tuple[str, ...]) -> dict | None:
    """A JSON object that was written down; None if it was not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: no JSON object; {MOVE}")
    for key in keys:
        if key not in content:
            raise InputError(f"{path}: has no {key!r}; {MOVE}")
    for key, (types, what) in TYPES.items():
        if key in content and not isinstance(content[key], types):
            raise InputError(f"{path}: {key!r} is no {what}; {MOVE}")
    return content
