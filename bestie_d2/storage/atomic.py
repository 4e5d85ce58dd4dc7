"""Files that appear in a folder when all of them are finished."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bestie_d2.errors import InputError

SCRATCH_PREFIX = ".preparing-"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # these name no file where they come while one is written


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A scratch folder inside ``output``; what is in it at the end takes its place in ``output``.

    Files replace those of the same name, each in one step; a folder that is there already is
    merged with. After an error or Ctrl-C in the block nothing of it is left.

    Raises:
        InputError: ``output`` cannot be written. What the block cannot read is not said to be that.
    """
    with _writing(output):
        output.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=output)
    with folder as name:
        scratch = Path(name)
        with _writing(output, lambda error: _is_written_in(scratch, error)):
            yield scratch
        with _writing(output):
            _move_into(scratch, output)


@contextmanager
def _writing(
    output: Path, counts: Callable[[OSError], bool] = lambda error: True
) -> Iterator[None]:
    """Tell errors that count in one line, as those of writing ``output``."""
    try:
        yield
    except OSError as error:
        if not counts(error):
            raise
        raise InputError(f"{output}: cannot be written ({error})") from None


def _is_written_in(scratch: Path, error: OSError) -> bool:
    if error.filename is None:
        return error.errno in DISK_FULL
    return Path(str(error.filename)).is_relative_to(scratch)


def _move_into(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move_into(entry, place)
        else:
            os.replace(entry, place)
