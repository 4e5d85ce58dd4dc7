"""Unfinished work on disk while a long run over a data set lasts, so that it can go on.

``<output>.parts/`` holds an SQLite database for each process that works: results of single images
as JSON and, in that of process 0, the settings that they depend on. Maps lie beside them as files.
A kill at any moment loses no more than the image in work. The processes of a machine read none that
another one writes, so they need no locks; machines, which look at each other's, have SQLite's.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder

FOLDER_SUFFIX = ".parts"
DATABASE = "results_{}.sqlite"
TABLES = """
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS settings (content TEXT);
    CREATE TABLE IF NOT EXISTS results (image_id TEXT PRIMARY KEY, content TEXT);
"""
OF_OLDER_VERSIONS = {"fingerprint.json", "made_with.json"}  # in their folders of the same name
NEVER = "nothing"  # how a setting that one of two runs did not have is shown
SECONDS_TO_READ = 300.0  # that a database of another machine, which may be lost, is waited for
SHOWN = 3  # settings that differ, named in an error


@dataclass(frozen=True)
class Results:
    """The unfinished results that belong to an output, a file or a folder."""

    output: str | os.PathLike
    shared: bool = False  # by machines that look at each other's while they work

    @property
    def folder(self) -> Path:
        return Path(f"{self.output}{FOLDER_SUFFIX}")

    def begin(self, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Make the folder, or go on with what a run of the same settings left in it; what others
        left is refused unless ``overwrite`` throws it away, and always what is no run's.

        Args:
            settings: everything that the results depend on, by name; JSON values.
        """
        wanted = json.loads(json.dumps(settings))
        names = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        found = self.settings
        if names and DATABASE.format(0) not in names:
            if not names & OF_OLDER_VERSIONS:
                raise InputError(f"--output {self.output}: {self.folder} holds files of others")
            print(f"{self.folder}: unfinished results of an older version; begun anew")
        elif found == wanted:
            return
        elif found is not None and self._holds_work() and not overwrite:
            raise InputError(
                f"--output {self.output}: {self.folder} holds unfinished results of other settings "
                f"({differences(found, wanted)}); --overwrite throws them away, another --output "
                "leaves them"
            )
        self.remove()
        make_folder(self.folder, f"--output {self.output}:")
        with self._database(0) as database:
            database.execute("INSERT INTO settings VALUES (?)", [json.dumps(wanted)])

    @property
    def settings(self) -> dict[str, Any] | None:
        """What the results depend on; None where no run has begun."""
        if 0 not in self._processes():
            return None
        with self._database(0) as database:
            row = database.execute("SELECT content FROM settings").fetchone()
        return json.loads(row[0]) if row else None

    def put(self, image_id: Hashable, result: Any, process: int = 0) -> None:
        """Keep the result of an image, a JSON value; ``process`` is this one's number among those
        that work at the same time."""
        row = [json.dumps(image_id), json.dumps(result)]
        with self._database(process) as database:
            database.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", row)

    def forget(self, image_ids: Iterable[Hashable]) -> None:
        """Throw the results of images away, whichever process has them."""
        rows = [[json.dumps(image_id)] for image_id in image_ids]
        for process in self._processes():
            with self._database(process) as database:
                database.executemany("DELETE FROM results WHERE image_id = ?", rows)

    def done(self) -> set[Hashable]:
        """Ids of the images that there is a result of."""
        found = set()
        for process in self._processes():
            with self._database(process) as database:
                rows = database.execute("SELECT image_id FROM results")
                found |= {json.loads(image_id) for (image_id,) in rows}
        return found

    def of(self, image_ids: Iterable[Hashable]) -> Iterator[tuple[Hashable, Any]]:
        """Image id and result in the order given; images without a result are passed over."""
        query = "SELECT content FROM results WHERE image_id = ?"
        with ExitStack() as stack:
            opened = [stack.enter_context(self._database(p)) for p in self._processes()]
            for image_id in image_ids:
                key = [json.dumps(image_id)]
                rows = (database.execute(query, key).fetchone() for database in opened)
                if found := next(filter(None, rows), None):
                    yield image_id, json.loads(found[0])

    def remove(self) -> None:
        """Take all results away, once the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _holds_work(self) -> bool:
        others = (p for p in self.folder.rglob("*") if not p.match(DATABASE.format("*")))
        return bool(self.done()) or any(path.is_file() for path in others)

    def _processes(self) -> list[int]:
        names = [path.stem for path in self.folder.glob(DATABASE.format("*"))]
        return sorted(int(name.rpartition("_")[2]) for name in names)

    @contextmanager
    def _database(self, process: int) -> Iterator[sqlite3.Connection]:
        """The open database of a process; what is done in the block is one transaction."""
        path = self.folder / DATABASE.format(process)
        try:
            address = f"{path.absolute().as_uri()}?nolock={int(not self.shared)}"
            opened = sqlite3.connect(address, timeout=SECONDS_TO_READ, uri=True)
            with closing(opened) as database, database:
                database.executescript(TABLES)
                yield database
        except sqlite3.DatabaseError as error:
            why = f"holds no results ({error}); remove the folder to start again"
            if isinstance(error, sqlite3.OperationalError):
                why = f"cannot be written ({error})"
            raise InputError(f"{path}: {why}") from None


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The settings that differ, on one line."""
    pairs = {key: (found.get(key, NEVER), wanted.get(key, NEVER)) for key in {**found, **wanted}}
    words = [f"{key} was {old}, is {new}" for key, (old, new) in pairs.items() if old != new]
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return "; ".join(words[:SHOWN]) + more
