"""What is on disk about a stage: from what it was started, from what it was finished, what failed.

Nothing of a stage is ever deleted: what is made anew is moved aside first, in one step.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import detectron2
import torch
import yaml

from bestie_d2.errors import InputError
from bestie_d2.pipeline.log import LOG_FILE
from bestie_d2.pipeline.sources import Found, Sources
from bestie_d2.storage.files import make_folder, write_json
from bestie_d2.storage.processes import LOCK_FILE

STARTED, MANIFEST, FAILED = "started.json", "manifest.json", "failed.json"
CONFIG_FILE = "config.yaml"  # a training's own
MOVE = "move its folder away to make the stage anew"
SOURCES = ("config", "inputs")
WRITTEN = (*SOURCES, "versions", "seconds", "figures", "text")  # in every manifest
DATA = "data"  # among the inputs of a record of an older version: the hash of all data
# In the folder of a stage that has made nothing yet, and of one without a checkpoint or label.
TRACES = {STARTED, FAILED, LOG_FILE, CONFIG_FILE, "classes.json"}
MEASURED = ("metrics.json", "events.out.tfevents.")


class StageRecord:
    """The folder of a stage. ``started.json`` is there from its start, ``failed.json`` when it was
    stopped by an error, ``manifest.json`` when it is finished; all are written whole or not at all.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @property
    def manifest(self) -> dict | None:
        """What the finished stage wrote down; None if it is not finished."""
        return _read(self._folder / MANIFEST, WRITTEN)

    @property
    def started(self) -> dict | None:
        """What the stage was last begun from; None if it never was."""
        return _read(self._folder / STARTED, ())

    @property
    def failure(self) -> str:
        """What stopped the stage when it was run last, in a line; "" for nothing."""
        content = _read(self._folder / FAILED, ("line",))
        return content["line"] if content else ""

    @property
    def found(self) -> Found | None:
        """What the stage was made or begun from; None if it never was begun."""
        manifest = self.manifest
        content = self.started if manifest is None else manifest
        if content is None or not content.keys() >= set(SOURCES):  # killed as it was begun
            return None
        config, data = content["config"], content.get("data")
        inputs = {name: value for name, value in content["inputs"].items() if name != DATA}
        if isinstance(config, str):  # an older version's hash of everything
            config, data = _values_in(self._folder / CONFIG_FILE), None
        finished = manifest is not None
        return Found(config, data, inputs, finished, content.get("instead_of", ""))

    @property
    def has_results(self) -> bool:
        """Whether there is more than logs and measurements, such as a checkpoint."""
        return any(not name.startswith(MEASURED) for name in self._left())

    @property
    def kept(self) -> list[str]:
        """Names of the folders that were moved aside, by number."""
        pattern = re.compile(rf"{re.escape(self._folder.name)}\.(\d+)")
        beside = self._folder.parent.iterdir() if self._folder.parent.is_dir() else ()
        numbers = [int(found[1]) for path in beside if (found := pattern.fullmatch(path.name))]
        return [f"{self._folder.name}.{number}" for number in sorted(numbers)]

    def _left(self) -> list[str]:
        """What a run has left, apart from what every run begins with."""
        if not self._folder.is_dir():
            return []
        names = [path.name for path in self._folder.iterdir()]
        return [name for name in names if name not in TRACES and not name.endswith(LOCK_FILE)]

    def next_kept(self) -> Path:
        """Where the folder would be moved."""
        last = int(self.kept[-1].rsplit(".", 1)[1]) if self.kept else 0
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


def _values_in(path: Path) -> dict[str, object] | None:
    """The keys of a training's configuration file; None where there is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    return flattened(content) if isinstance(content, dict) else None


def _read(path: Path, keys: tuple[str, ...]) -> dict | None:
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
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{path}: has no {missing[0]!r}; {MOVE}")
    for key in ("inputs", DATA, "figures"):
        if not isinstance(content.get(key, {}), dict):
            raise InputError(f"{path}: {key!r} is no JSON object; {MOVE}")
    if not isinstance(content.get("config", {}), dict | str):  # text: of an older version
        raise InputError(f"{path}: 'config' is no JSON object; {MOVE}")
    if not isinstance(content.get("seconds", 0), int | float):
        raise InputError(f"{path}: 'seconds' is no number; {MOVE}")
    return content
