"""Two runs on one output: the second is told in a line; a killed one is in nobody's way."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from bestie_d2.errors import InputError
from bestie_d2.storage.processes import only_run_for, only_run_in, running_in

# Holds a folder, with a child process as a data loader has them, until it is killed.
HOLDER = """
import os, sys, time
from bestie_d2.storage.processes import only_run_in
with only_run_in(sys.argv[1], "OUTPUT_DIR"):
    if os.fork() == 0:
        print("holds", flush=True)  # and has let go of what it has of the lock
        time.sleep(20)
        os._exit(0)
    time.sleep(60)
"""


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as told, only_run_in(folder, "OUTPUT_DIR"):
        pass
    return str(told.value)


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert holder.stdout.readline() == "holds\n"
        line = refused(tmp_path)
        assert line.startswith(
            f"OUTPUT_DIR {tmp_path}: another run is working there (process {holder.pid}, since 2"
        )
        assert "\n" not in line
        assert running_in(tmp_path).startswith(f"process {holder.pid}, since 2")
        os.kill(holder.pid, signal.SIGKILL)  # its child lives on
        holder.wait()
        assert running_in(tmp_path) == ""
        with only_run_in(tmp_path, "OUTPUT_DIR"):
            assert str(os.getpid()) in refused(tmp_path)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pid", ["1" + "0" * 30, "-1", "0", "true", "[" * 100_000])
def test_a_file_without_a_process_says_that_nobody_holds_it(pid, tmp_path):
    holder = f'{{"pid": {pid}, "host": "{platform.node()}", "since": "now"}}'
    (tmp_path / ".lock").write_text(holder)
    assert running_in(tmp_path) == ""


# Starts a process by torch's way, and ends before that has begun to work, or while it does.
PARENT = """
import os, sys, time
import torch.multiprocessing as mp
from bestie_d2.storage.processes import end_with_parent

def work(number, path, seconds):
    open(path, "w").write(str(os.getpid()))
    time.sleep(seconds)
    end_with_parent()
    open(path + ".works", "w").write("")
    time.sleep(60)

if __name__ == "__main__":
    mp.spawn(work, (sys.argv[1], float(sys.argv[2])), 1, join=False)
    while not os.path.exists(sys.argv[1] + sys.argv[3]):
        time.sleep(0.01)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "until"), [("0", ".works"), ("2", "")])
def test_a_process_ends_with_the_one_that_started_it(seconds, until, tmp_path):
    program, path = tmp_path / "parent.py", tmp_path / "pid"
    program.write_text(PARENT)
    command = [sys.executable, str(program), str(path), seconds, until]
    # Both write to this pipe, so it is read to its end where both have ended.
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=50)
    assert done.returncode == -signal.SIGKILL
    assert path.exists()


def test_nothing_lies_in_a_folder_of_data(tmp_path):
    maps = tmp_path / "new" / "maps"
    with only_run_for(maps):
        maps.mkdir()
        second = only_run_for(f"{maps}/")
        with pytest.raises(InputError, match=r"--output .*maps/: another run"):
            second.__enter__()
    assert list(maps.iterdir()) == []
    assert list(maps.parent.iterdir()) == [maps]


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), only_run_in(tmp_path, "output"):
        raise KeyError
    with only_run_in(tmp_path, "output"):
        pass


def _raises(number: int):
    def acquire(self: FileLock) -> None:
        raise OSError(number, os.strerror(number))

    return acquire


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", _raises(errno.EROFS))
    assert refused(tmp_path) == (
        f"OUTPUT_DIR {tmp_path}: {tmp_path}/.lock cannot be written (Read-only file system)"
    )


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of(number, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(FileLock, "acquire", _raises(number))
    with only_run_in(tmp_path, "OUTPUT_DIR"):
        pass
    assert "this file system has no locks" in caplog.text
