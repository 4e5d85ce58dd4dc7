"""What is on disk about a stage: from what it was started, and from what it was finished."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import detectron2
import torch

from bestie_d2.engine.command_line import make_folder
from bestie_d2.engine.labeling_runs.fingerprint import hash_of_file
from bestie_d2.errors import InputError
from bestie_d2.evaluation.result_shards import replacing

STARTED, MANIFEST = "started.json", "manifest.json"
REMOVE = "remove its folder to make the stage anew"
WRITTEN = ("config", "inputs", "versions", "seconds", "figures", "text")  # in every manifest


@dataclass(frozen=True)
class Sources:
    """What a stage's result depends on.

    Attributes:
        config: hash of its configurations, without what earlier stages put in.
        inputs: hash of each product of an earlier stage, by the stage's name.
    """

    config: str
    inputs: dict[str, str]

    def difference(self, found: Mapping) -> str:
        """What is not as in a file of a run; "" if all is."""
        if found.get("config") != self.config:
            return "its configuration changed"
        before = found.get("inputs", {})
        names = [n for n in {**self.inputs, **before} if self.inputs.get(n) != before.get(n)]
        return f"what it reads of {', '.join(names)} changed" if names else ""


class StageRecord:
    """The folder of a stage. ``started.json`` is there from its start, ``manifest.json`` when it
    is finished; both are written whole or not at all."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @property
    def manifest(self) -> dict | None:
        """What the finished stage wrote down; None if it is not finished."""
        path = self._folder / MANIFEST
        manifest = _read(path)
        missing = [] if manifest is None else [key for key in WRITTEN if key not in manifest]
        if missing:
            raise InputError(f"{path}: has no {missing[0]!r}; {REMOVE}")
        return manifest

    @property
    def started(self) -> dict | None:
        """The sources that the stage was last started with; None if it never was."""
        return _read(self._folder / STARTED)

    def begin(self, sources: Sources, *, resume: bool) -> None:
        """Make the folder ready: empty but for ``started.json``, or as it was left, to go on with.

        Raises:
            InputError: the folder holds something and is not a stage's.
        """
        make_folder(self._folder, "output")
        if self.started is None and any(self._folder.iterdir()):
            raise InputError(f"{self._folder} holds files of something else: choose another output")
        (self._folder / MANIFEST).unlink(missing_ok=True)
        if resume:
            return
        _write(self._folder / STARTED, {})  # the folder is ours, but nothing in it is gone on with
        for path in self._folder.iterdir():
            if path.name == STARTED:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _write(self._folder / STARTED, asdict(sources))

    def finish(self, sources: Sources, **result: object) -> None:
        """Write the manifest."""
        versions = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "detectron2": detectron2.__version__,
            "bestie_d2": version("bestie_d2"),
        }
        _write(self._folder / MANIFEST, {**asdict(sources), "versions": versions, **result})


def hash_of_product(path: str) -> str:
    """SHA-256 of a file, or of the names and contents of the files in a folder."""
    if not os.path.isdir(path):
        return hash_of_file(path)
    digest = hashlib.sha256()
    for name in sorted(os.listdir(path)):
        digest.update(f"{name}\0{hash_of_product(os.path.join(path, name))}\n".encode())
    return digest.hexdigest()


def _read(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: no JSON object; {REMOVE}")
    return content


def _write(path: Path, content: Mapping) -> None:
    with replacing(path) as file:
        json.dump(content, file, indent=1, sort_keys=True)
