"""From what a stage was made, as its folder says it, and what of that is not as it was.

Nothing of a stage is ever deleted: what is made anew is moved aside first, in one step.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import detectron2
import numpy as np
import timm
import torch
import torchvision
import yaml

from bestie_d2.errors import InputError
from bestie_d2.pipeline.spent_time import TIME_FILE
from bestie_d2.storage.files import make_folder, read_json, write_json
from bestie_d2.storage.processes import LOCK_FILE

STARTED, MANIFEST, FAILED = "started.json", "manifest.json", "failed.json"
CONFIG_FILE, LOG_FILE = "config.yaml", "log.txt"  # a training's own, and a stage's
NUMBER = (int, float)
TYPES: dict[str, tuple[type, ...]] = {  # of what is written; "config" is a hash in older versions
    **dict.fromkeys(("inputs", "data", "figures"), (dict,)),
    "config": (dict, str),
    "seconds": NUMBER,
}
# In the folder of a stage that has made nothing yet, and of one without a checkpoint or label.
TRACES = {STARTED, FAILED, LOG_FILE, CONFIG_FILE, TIME_FILE, "classes.json"}
MEASURED = ("metrics.json", "events.out.tfevents.")
NOT_READ, NOT_MADE = "not read", "not made yet"  # in place of the hash of a product
WIDTH = 60  # letters of a value that are printed


@dataclass(frozen=True)
class Found:
    """What a stage's folder says that it was made, or begun, from, as :class:`Sources`; ``config``
    and ``data`` are None where an older version wrote down a hash alone."""

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
class Sources:
    """What a stage is made from now."""

    config: Mapping[str, object]  # all that the pipeline and its configurations say of it, by key
    data: Mapping[str, str]  # state of each part of the data that no stage makes
    inputs: Mapping[str, str]  # hash of each product that it reads, by stage, or NOT_MADE
    counted: Mapping[str, object] = field(default_factory=dict)  # keys that count: their defaults

    @property
    def content(self) -> dict[str, object]:
        """What is written down: all keys, as what counts may change."""
        return {"config": self.config, "data": self.data, "inputs": self.inputs}

    def changes(self, found: Found) -> dict[str, str]:
        """A line for each thing that counts and is not as a run found it; with the stage whose
        product it is, "" for others.

        A key that the record does not have was at its default; one that the configuration does not
        have any more does not count. A product that was read, and is not made yet, is no change.
        """
        config = self.config if found.config is None else found.config
        # a model that was not there is told as a product that was not read
        new = self.inputs.keys() - {key.partition(".")[0] for key in config}
        keys = [key for key in self.counted if key.partition(".")[0] not in new]
        compared = [(key, config.get(key, self.counted[key]), self.config[key], "") for key in keys]
        # what a stage makes in place of a part is among the inputs
        data = found.data or {}
        compared += [(part, data.get(part, now), now, "") for part, now in self.data.items()]
        for name in {**found.inputs, **self.inputs}:
            was, now = (inputs.get(name, NOT_READ) for inputs in (found.inputs, self.inputs))
            if now != NOT_MADE or was == NOT_READ:
                compared.append((f"product of {name}", was, now, name))
        return {
            f"{what} was {_shortened(was)}, is {_shortened(now)}": stage
            for what, was, now, stage in compared
            if was != now
        }


def _shortened(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."


class StageRecord:
    """The folder of a stage. ``started.json`` is there from its start, ``failed.json`` when it was
    stopped by an error, ``manifest.json`` when it is finished; all are written whole or not at all,
    and None stands for what is not there."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @property
    def manifest(self) -> dict | None:
        """What the finished stage wrote down."""
        keys = ("config", "inputs", "versions", "seconds", "figures", "text")
        return self._read(MANIFEST, *keys)

    @property
    def started(self) -> dict | None:
        """What the stage was last begun from."""
        return self._read(STARTED)

    @property
    def failure(self) -> str:
        """What stopped the stage when it was run last, in a line; "" for nothing."""
        return (self._read(FAILED, "line") or {"line": ""})["line"]

    @property
    def found(self) -> Found | None:
        """What the stage was made or begun from; None if it never was begun."""
        manifest = self.manifest
        content = (self.started if manifest is None else manifest) or {}
        if not content.keys() >= {"config", "inputs"}:  # killed as it was begun
            return None
        config, inputs = content["config"], dict(content["inputs"])
        inputs.pop("data", None)  # an older version's hash of all data
        if isinstance(config, str):  # an older version's hash: a training has its configuration
            config = None
            with suppress(OSError, yaml.YAMLError, AttributeError):  # not keys and values
                text = (self._folder / CONFIG_FILE).read_text(encoding="utf-8")
                config = flattened(yaml.safe_load(text))
        instead_of = content.get("instead_of", "")
        return Found(config, content.get("data"), inputs, manifest is not None, instead_of)

    def _read(self, name: str, *keys: str) -> dict | None:
        """A JSON object with these keys that was written down."""
        path, content = self._folder / name, None
        try:
            content = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except ValueError:
            pass  # told below
        if isinstance(content, dict):
            wrong = [f"has no {key!r}" for key in keys if key not in content]
            for key, types in TYPES.items():
                if key in content and not isinstance(content[key], types):
                    what = "number" if types == NUMBER else "JSON object"
                    wrong.append(f"{key!r} is no {what}")
        else:
            wrong = ["no JSON object"]
        if wrong:
            raise InputError(f"{path}: {wrong[0]}; move its folder away to make the stage anew")
        return content

    @property
    def has_results(self) -> bool:
        """Whether there is more than logs and measurements, such as a checkpoint."""
        return any(not name.startswith(MEASURED) for name in self._left())

    def _left(self) -> list[str]:
        """What a run has left, apart from what every run begins with."""
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        return [name for name in names if name not in TRACES and not name.endswith(LOCK_FILE)]

    @property
    def kept(self) -> list[str]:
        """Names of the folders that were moved aside, by number."""
        ours = [path for path in self._folder.parent.glob("*.*") if path.stem == self._folder.name]
        numbers = [path.suffix[1:] for path in ours if path.suffix[1:].isdecimal()]
        return [f"{self._folder.name}.{number}" for number in sorted(numbers, key=int)]

    def next_kept(self) -> Path:
        """Where the folder would be moved."""
        last = ["0", *(name.rpartition(".")[2] for name in self.kept)][-1]
        return self._folder.with_name(f"{self._folder.name}.{int(last) + 1}")

    def set_aside(self) -> None:
        """Move the folder to ``<stage>.1`` (``.2``, ...), in one step, if a run has left anything;
        refuse one that is not a stage's."""
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
        """Make the folder ready; what it was begun from stays written down where it is resumed."""
        make_folder(self._folder, "output")
        if not resume:
            instead_of = ["", *self.kept][-1]
            (self._folder / TIME_FILE).unlink(missing_ok=True)
            write_json(self._folder / STARTED, {**sources.content, "instead_of": instead_of})
        (self._folder / FAILED).unlink(missing_ok=True)

    def fail(self, line: str) -> None:
        """Write down what stopped the stage."""
        write_json(self._folder / FAILED, {"line": line})

    def finish(self, sources: Sources, **result: object) -> None:
        """Write the manifest."""
        versions = {"python": platform.python_version(), "bestie_d2": version("bestie_d2")}
        modules = (torch, torchvision, detectron2, timm, np)
        versions |= {module.__name__: module.__version__ for module in modules}
        instead_of = (self.started or {}).get("instead_of", "")
        content = {**sources.content, "instead_of": instead_of, "versions": versions, **result}
        content |= {"commit": _commit(), "threads": torch.get_num_threads()}
        write_json(self._folder / MANIFEST, content)


def _commit() -> str:
    """The commit that the program is of, with ``-dirty`` where files were changed since; "" where
    it does not run from a checkout."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    with suppress(OSError, subprocess.CalledProcessError):
        if (root / ".git").exists():
            return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    return ""


def flattened(node: Mapping, prefix: str = "") -> dict[str, object]:
    """Nested keys and values as ``A.B.C``, with JSON values."""
    values: dict[str, object] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            values |= flattened(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = json.loads(json.dumps(value, default=str))
    return values
