import errno
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing import synchronize

import pytest
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader

from bestie_d2.data.loader_workers import SHARED_MEMORY_FULL
from bestie_d2.engine.command_line import input_error_line, run_tool
from bestie_d2.errors import InputError

FROM_A_WORKER = (
    "Caught InputError in DataLoader worker process 0.\nOriginal Traceback:\n  File ...\n"
    "bestie_d2.errors.InputError: map a.png: no such file\n"
)
BUS_ERROR = (  # PyTorch's words
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)
OF_A_LOST_ONE = (
    "\n\n-- Process 0 terminated with the following error:\nTraceback (most recent call last):\n"
    "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer\n"
)
ANOTHER_ENDED = (
    "error: another of the processes that work together has ended: its own line says why, or the "
    "system that ended it; go on with --resume\n"
)


def test_the_line_is_found_in_what_workers_and_processes_hand_on():
    assert input_error_line(InputError("map a.png: bad")) == "map a.png: bad"
    assert input_error_line(InputError(FROM_A_WORKER)) == "map a.png: no such file"
    long = FROM_A_WORKER.replace("a.png", "a" * 900)
    assert input_error_line(InputError(long)) == f"map {'a' * 900}: no such file"
    process = ProcessRaisedException(FROM_A_WORKER, 0, 1)
    assert input_error_line(process) == "map a.png: no such file"
    assert input_error_line(ValueError(FROM_A_WORKER)) is None
    assert input_error_line(ProcessRaisedException("ZeroDivisionError", 0, 1)) is None


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (InputError("map a.png: bad"), 2, "error: map a.png: bad\n"),
        (ProcessRaisedException(FROM_A_WORKER, 0, 1), 2, "error: map a.png: no such file\n"),
        (
            RuntimeError(BUS_ERROR),
            1,
            f"error: {BUS_ERROR.partition('.')[0]}: {SHARED_MEMORY_FULL}\n",
        ),
        (ProcessExitedException("process 1 terminated", 1, 7, -9, "SIGKILL"), 1, ANOTHER_ENDED),
        (ProcessRaisedException(OF_A_LOST_ONE, 0, 7), 1, ANOTHER_ENDED),
        (KeyboardInterrupt(), 130, "interrupted; what was written so far is kept\n"),
    ],
)
def test_exit_codes(capsys, error, code, stderr):
    def main():
        raise error

    with pytest.raises(SystemExit) as exit_info:
        run_tool(main)
    assert exit_info.value.code == code
    assert capsys.readouterr().err == stderr


def test_sigterm_ends_a_tool_with_a_line_and_its_own_exit_code(capsys):
    before, closed = signal.getsignal(signal.SIGTERM), []

    def main():
        try:
            if os.fork() == 0:
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(0)
            _, status = os.wait()
            closed.append(os.waitstatus_to_exitcode(status))
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            closed.append("file")

    with pytest.raises(SystemExit) as exit_info:
        run_tool(main)
    assert exit_info.value.code == 143
    assert capsys.readouterr().err == "terminated; what was written so far is kept\n"
    assert closed == [-signal.SIGTERM, "file"]  # a forked child ends as ever
    assert signal.getsignal(signal.SIGTERM) == before


def test_shared_memory_without_room_for_semaphores_is_told(capsys, monkeypatch):
    """Of 16 KiB: processes cannot begin, and the system says no more than that space is short."""

    class Full:
        def __init__(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(synchronize._multiprocessing, "SemLock", Full)
    with pytest.raises(SystemExit) as exit_info:
        run_tool(multiprocessing.Lock)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"error: {SHARED_MEMORY_FULL}\n"


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), ConnectionResetError(), OSError(errno.ENOSPC, "No space left on device")],
)
def test_errors_of_the_program_keep_their_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)):
        run_tool(main)


def test_a_reset_connection_to_a_worker_is_a_lost_worker(capsys, monkeypatch):
    def reset(**_):
        raise ConnectionResetError

    def main():
        batches = iter(DataLoader(range(4), num_workers=1))
        monkeypatch.setattr(batches._data_queue, "get", reset)
        next(batches)

    with pytest.raises(SystemExit) as exit_info:
        run_tool(main)
    assert exit_info.value.code == 1
    assert capsys.readouterr().err.startswith("error: a DataLoader worker has exited unexpectedly:")


def test_detectron2_logs_no_traceback_for_bad_input(caplog):
    logger = logging.getLogger("detectron2.engine.train_loop")
    run_tool(lambda: None)
    for error in (InputError("a.png"), ValueError("a bug")):
        try:
            raise error
        except ValueError:
            logger.exception("Exception during training:")
    assert [record.exc_info[1].args for record in caplog.records] == [("a bug",)]


def test_what_a_file_holds_makes_no_second_line():
    line = str(InputError("a.json: class 'x\n\x1b[2Jy\u2028\ud800z' is none"))
    assert line == "a.json: class 'x [2Jy z' is none"
    long = str(InputError("a.json: " + "x" * 100_000 + ": write cat"))
    assert long.startswith("a.json: xxx")
    assert long.endswith("xxx: write cat")
    assert len(long) == 2_005
