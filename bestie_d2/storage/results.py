"""Unfinished work on disk while a long run over a data set lasts, so that it can go on.

``<output>.parts/`` holds an SQLite database for each process that works, which needs no lock then:
results of single images as JSON and, in that of process 0, the settings that they depend on. Maps
lie beside them as files. A kill at any moment loses no more than the image in work.
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
SHOWN = 3  # settings that differ, named in an error


@dataclass(frozen=True)
class Results:
    """The unfinished results that belong to an output, a file or a folder."""

    output: str | os.PathLike

    @property
    def folder(self) -> Path:
        return Path(f"{self.output}{FOLDER_SUFFIX}")

    def begin(self, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Make the folder, or find the one that a run with the same settings left.

        Args:
            settings: everything that the results depend on, by name; JSON values.
            overwrite: throw away what runs with other settings left. Results of the same settings
                are kept and gone on with.

        Raises:
            InputError: the results there are those of other settings, or the folder is no run's.
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
        with self._database(self._path(0)) as database:
            database.execute("INSERT INTO settings VALUES (?)", [json.dumps(wanted)])

    @property
    def settings(self) -> dict[str, Any] | None:
        """What the results depend on; None where no run has begun."""
        if not self._path(0).exists():
            return None
        with self._database(self._path(0)) as database:
            row = database.execute("SELECT content FROM settings").fetchone()
        return json.loads(row[0]) if row else None

    def _holds_work(self) -> bool:
        databases = self._paths()
        return bool(self.done()) or any(
            path.is_file() and path not in databases for path in self.folder.rglob("*")
        )

    def put(self, image_id: Hashable, result: Any, process: int = 0) -> None:
        """Keep the result of an image, a JSON value.

        Args:
            process: number among those that work at the same time.
        """
        with self._database(self._path(process)) as database:
            row = [json.dumps(image_id), json.dumps(result)]
            database.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", row)

    def done(self) -> set[Hashable]:
        """Ids of the images that there is a result of."""
        found = set()
        for path in self._paths():
            with self._database(path) as database:
                rows = database.execute("SELECT image_id FROM results")
                found |= {json.loads(image_id) for (image_id,) in rows}
        return found

    def of(self, image_ids: Iterable[Hashable]) -> Iterator[tuple[Hashable, Any]]:
        """Image id and result in the order given; images without a result are passed over."""
        with ExitStack() as stack:
            databases = [stack.enter_context(self._database(path)) for path in self._paths()]
            for image_id in image_ids:
                for database in databases:
                    row = database.execute(
                        "SELECT content FROM results WHERE image_id = ?", [json.dumps(image_id)]
                    ).fetchone()
                    if row:
                        yield image_id, json.loads(row[0])
                        break

    def remove(self) -> None:
        """Take all results away, once the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, process: int) -> Path:
        return self.folder / DATABASE.format(process)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(DATABASE.format("*")))

    @contextmanager
    def _database(self, path: Path) -> Iterator[sqlite3.Connection]:
        """An open database, what is done with it in one transaction."""
        try:
            address = f"{path.absolute().as_uri()}?nolock=1"
            with closing(sqlite3.connect(address, uri=True)) as database, database:
                database.executescript(TABLES)
                yield database
        except sqlite3.OperationalError as error:
            raise InputError(f"{path}: cannot be written ({error})") from None
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{path}: holds no results ({error}); remove the folder to start again"
            ) from None


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The settings that differ, on one line."""
    keys = [key for key in {**found, **wanted} if found.get(key, NEVER) != wanted.get(key, NEVER)]
    words = [
        f"{key} was {found.get(key, NEVER)}, is {wanted.get(key, NEVER)}" for key in keys[:SHOWN]
    ]
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return "; ".join(words) + more
