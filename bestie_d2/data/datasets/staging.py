"""Files that appear in a folder when all of them are finished."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bestie_d2.errors import InputError

SCRATCH_PREFIX = ".preparing-"


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A scratch folder inside ``output``; what is in it at the end takes its place in ``output``.

    Files replace those of the same name, each in one step; a folder that is there already is
    merged with. After an error or Ctrl-C in the block nothing of it is left.

    Raises:
        InputError: ``output`` cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=output) as scratch:
            yield Path(scratch)
            _move_into(Path(scratch), output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error})") from None


def _move_into(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move_into(entry, place)
        else:
            os.replace(entry, place)
