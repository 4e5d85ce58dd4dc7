"""Results of single images on disk while a long run over a data set lasts, so that it can go on.

``<output>.parts/`` holds ``fingerprint.json``, what the results depend on, and one JSON-lines file
for each worker: ``[image_id, result]`` a line. Nothing but an index of lines is kept in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from bestie_d2.errors import InputError
from bestie_d2.storage.files import write_json

FOLDER_SUFFIX = ".parts"
FINGERPRINT_FILE = "fingerprint.json"
PART_PATTERN = "worker_*.jsonl"
NEVER = "nothing"  # how a setting that one of two runs did not have is shown
SHOWN = 3  # settings that differ, named in an error


class ResultShards:
    """The unfinished results that belong to an output file."""

    def __init__(self, output: str | os.PathLike) -> None:
        self.output = Path(output)
        self.folder = Path(f"{output}{FOLDER_SUFFIX}")

    def begin(self, fingerprint: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Make the folder, or find the one that a run with the same fingerprint left.

        Args:
            fingerprint: everything that the results depend on, by name; JSON values.
            overwrite: throw away what runs with another fingerprint left, and allow that the output
                is there already. Results of the same fingerprint are kept and gone on with.

        Raises:
            InputError: the output is there, or the results there are those of another fingerprint.
        """
        if self.output.is_dir():
            raise InputError(f"--output {self.output}: is a folder; name a file")
        if self.output.exists() and not overwrite:
            raise InputError(f"--output {self.output}: is there already; --overwrite replaces it")
        wanted = json.loads(json.dumps(fingerprint))
        found = self._read_fingerprint()
        if found not in (None, wanted) and not overwrite and self.done():
            raise InputError(
                f"--output {self.output}: {self.folder} holds results of other settings "
                f"({differences(found, wanted)}); --overwrite throws them away, another --output "
                "leaves them"
            )
        if found != wanted:
            self._start(wanted)

    def _read_fingerprint(self) -> dict | None:
        try:
            text = (self.folder / FINGERPRINT_FILE).read_text(encoding="utf-8")
        except OSError:
            return None
        return json.loads(text)

    def _start(self, fingerprint: dict) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output {self.output}: {self.folder} cannot be made a folder ({error.strerror})"
            ) from None
        self._clear()
        write_json(self.folder / FINGERPRINT_FILE, fingerprint)

    def writer(self, worker: int) -> ShardWriter:
        """Where one worker puts its results; no two may have the same number at the same time."""
        return ShardWriter(self.folder / PART_PATTERN.replace("*", str(worker)))

    def done(self) -> set[Hashable]:
        """Ids of the images that there is a result of."""
        return set(self._index())

    def _index(self) -> dict[Hashable, tuple[Path, int]]:
        """File and byte at which the result of each image begins."""
        index = {}
        for path in sorted(self.folder.glob(PART_PATTERN)):
            start = 0
            with open(path, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):  # else the run was killed while writing it
                        index[_parse(path, line)[0]] = (path, start)
                    start += len(line)
        return index

    def merge(self, order: Iterable[Hashable]) -> Iterator[tuple[Hashable, Any]]:
        """Image id and result in the order given; images without a result are passed over."""
        index = self._index()
        files = {path: open(path, "rb") for path, _ in set(index.values())}  # noqa: SIM115
        try:
            for image_id in order:
                if image_id in index:
                    path, start = index[image_id]
                    files[path].seek(start)
                    yield image_id, _parse(path, files[path].readline())[1]
        finally:
            for file in files.values():
                file.close()

    def remove(self) -> None:
        """Take all results away, once the output is written."""
        self._clear()
        with suppress(OSError):  # somebody else's files are in the folder
            self.folder.rmdir()

    def _clear(self) -> None:
        for path in [*self.folder.glob(PART_PATTERN), self.folder / FINGERPRINT_FILE]:
            path.unlink(missing_ok=True)


def _parse(path: Path, line: bytes) -> tuple[Hashable, Any]:
    try:
        image_id, result = json.loads(line)
    except ValueError:
        raise InputError(
            f"{path}: a line is no result ({line[:40]!r}); remove the folder to start again"
        ) from None
    return image_id, result


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The settings that differ, on one line."""
    keys = [key for key in {**found, **wanted} if found.get(key, NEVER) != wanted.get(key, NEVER)]
    words = [
        f"{key} was {found.get(key, NEVER)}, is {wanted.get(key, NEVER)}" for key in keys[:SHOWN]
    ]
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return "; ".join(words) + more


class ShardWriter:
    """Appends results to one worker's file; what a kill left of a last line is cut off first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def append(self, image_id: Hashable, result: Any) -> None:
        """Write one result (a JSON value) and hand it to the operating system."""
        if self._file is None:
            _cut_torn_line(self._path)
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed in close)
        self._file.write(json.dumps([image_id, result]) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; a later result opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _cut_torn_line(path: Path) -> None:
    """Drop what follows the last line break of a file, if it is there."""
    if not path.exists():
        return
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)
