"""Processes: one run at a time on an output, and work that several share.

A second run is refused, a killed one stands in nobody's way: locks are the operating system's
(``flock``), so they end with the process that holds them. The file only says who that is; it is
taken away at the end, and one that a kill leaves behind means nothing.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from multiprocessing import Pool
from pathlib import Path

from filelock import FileLock, Timeout

from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder

LOCK_FILE = ".lock"
ANOTHER_OUTPUT = "wait until it ends, or choose another output"
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of file systems that have none

logger = logging.getLogger(__name__)


@contextmanager
def only_run_in(
    folder: str | os.PathLike, key: str, advice: str = ANOTHER_OUTPUT
) -> Iterator[None]:
    """Be the only run that writes into a folder, which is made if it is not there.

    Args:
        key: the option or configuration key that names it.
        advice: what to do if there is another one.

    Raises:
        InputError: another run is working there, or nothing can be written.
    """
    make_folder(folder, key)
    with _holding(Path(folder, LOCK_FILE), f"{key} {folder}", advice):
        yield


@contextmanager
def only_run_for(output: str | os.PathLike, key: str = "--output") -> Iterator[None]:
    """The same for an output file, or a folder that nothing but data may lie in: the lock is a
    hidden file beside it."""
    path = Path(os.path.abspath(output))
    make_folder(path.parent, key)
    with _holding(path.with_name(f".{path.name}{LOCK_FILE}"), f"{key} {output}", ANOTHER_OUTPUT):
        yield


@contextmanager
def _holding(path: Path, what: str, advice: str) -> Iterator[None]:
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        whose = f" ({_described(_holder(path))})".replace(" ()", "")
        raise InputError(f"{what}: another run is working there{whose}; {advice}") from None
    except (OSError, NotImplementedError) as error:
        number = getattr(error, "errno", errno.ENOSYS)
        if number not in WITHOUT_LOCKS:
            raise InputError(f"{what}: {path} cannot be written ({os.strerror(number)})") from None
        logger.warning(
            "%s: this file system has no locks; see to it that no other run writes there", what
        )
        yield
        return
    try:
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        holder = {"pid": os.getpid(), "host": platform.node(), "since": since}
        with suppress(OSError):  # a full disk
            path.write_text(json.dumps(holder))
        yield
    finally:
        with suppress(OSError):  # its folder was moved
            path.unlink()
        lock.release()


def _holder(path: Path) -> dict:
    """Who holds a lock, as far as the file says it."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads(path.read_text())
        return {key: content[key] for key in ("pid", "host", "since")}
    return {}


def _described(holder: dict) -> str:
    if not holder:
        return ""
    elsewhere = "" if holder["host"] == platform.node() else f" on {holder['host']}"
    return f"process {holder['pid']}{elsewhere}, since {holder['since']}"


def running_in(folder: str | os.PathLike) -> str:
    """Which run is working in a folder, as far as it can be told without a lock; "" for none."""
    holder = _holder(Path(folder, LOCK_FILE))
    if holder.get("host") == platform.node():
        with suppress(PermissionError):  # somebody else's process
            try:
                os.kill(holder["pid"], 0)
            except (ProcessLookupError, TypeError):
                return ""
    return _described(holder)


@contextmanager
def mapping(jobs: int) -> Iterator[Callable]:
    """``imap`` of so many processes, in order; or the built-in ``map``."""
    if jobs == 1:
        yield map
        return
    # Ctrl-C is the main process's to handle.
    with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool.imap
