"""Processes: one run at a time on an output, and work that several share.

A second run is refused, a killed one stands in nobody's way: locks are the operating system's
(``flock``), so they end with the process that holds them. The file only says who that is; it is
taken away at the end, and one that a kill leaves behind means nothing.
"""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import platform
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from multiprocessing import Pool
from pathlib import Path
from threading import Thread

from filelock import FileLock, Timeout

from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder, read_json

LOCK_FILE = ".lock"
ANOTHER_OUTPUT = "wait until it ends, or choose another output"
LARGEST_PID = 2**31  # what the system's calls take
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of file systems that have none

logger = logging.getLogger(__name__)


class InUse(InputError):
    """Another run is working there."""


def only_run_in(
    folder: str | os.PathLike, key: str, advice: str = ANOTHER_OUTPUT
) -> AbstractContextManager[None]:
    """Be the only run that writes into a folder, that an option or key names; it is made if it is
    not there. ``advice`` says what to do if another run is working there."""
    return _holding(Path(folder, LOCK_FILE), folder, key, advice)


def only_run_for(output: str | os.PathLike, key: str = "--output") -> AbstractContextManager[None]:
    """The same for an output file, or a folder that nothing but data may lie in: the lock is a
    hidden file beside it."""
    path = Path(os.path.abspath(output))
    return _holding(path.with_name(f".{path.name}{LOCK_FILE}"), output, key, ANOTHER_OUTPUT)


@contextmanager
def _holding(path: Path, output: str | os.PathLike, key: str, advice: str) -> Iterator[None]:
    make_folder(path.parent, key)
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        whose = f" ({holder})" if (holder := _holder(path)) else ""
        raise InUse(f"{key} {output}: another run is working there{whose}; {advice}") from None
    except (OSError, NotImplementedError) as error:
        number = getattr(error, "errno", errno.ENOSYS)
        if number not in WITHOUT_LOCKS:
            why = f"{path} cannot be written ({os.strerror(number)})"
            raise InputError(f"{key} {output}: {why}") from None
        without = "this file system has no locks; see to it that no other run writes there"
        logger.warning("%s %s: %s", key, output, without)
        yield
        return
    try:
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        with suppress(OSError):  # a full disk
            path.write_text(
                json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since})
            )
        yield
    finally:
        with suppress(OSError):  # its folder was moved
            path.unlink()
        lock.release()


def _holder(path: Path) -> str:
    """The process that holds a lock; "" where the file does not say it, or one that has ended."""
    try:
        holder = read_json(path)
        pid, host, since = (holder[key] for key in ("pid", "host", "since"))
        if type(pid) is not int or not 0 < pid < LARGEST_PID:
            return ""
        if host != platform.node():
            return f"process {pid} on {host}, since {since}"
        with suppress(PermissionError):  # somebody else's process
            os.kill(pid, 0)
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return f"process {pid}, since {since}"


def running_in(folder: str | os.PathLike) -> str:
    """Which run is working in a folder, as far as it can be told without a lock; "" for none."""
    return _holder(Path(folder, LOCK_FILE))


def end_with_parent(*, group: bool = False) -> None:
    """Have this process, or its group, killed when the one that started it by ``multiprocessing``
    has ended, which may be so already: it holds the locks for what is written here."""
    if (parent := multiprocessing.parent_process()) is None:
        return

    def wait() -> None:
        parent.join()
        if group:
            os.killpg(0, signal.SIGKILL)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=wait, daemon=True).start()


@contextmanager
def mapping(jobs: int) -> Iterator[Callable]:
    """``imap`` of so many processes, in order; or the built-in ``map``."""
    if jobs == 1:
        yield map
        return
    # Ctrl-C is the main process's to handle.
    with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool.imap
