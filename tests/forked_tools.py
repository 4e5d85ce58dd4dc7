"""Tools in forks of one process that has imported what they need: each run is a process of its own,
as a user's is, but for the seconds that its imports take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SERVER = """
import atexit, json, os, runpy, sys, traceback
import bestie_d2.engine.predictor, bestie_d2.engine.trainer

def run(argv, cwd, out, err):
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.argv, sys.path[0] = argv, os.path.dirname(argv[0])
    code = 0
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        run(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Tool = Callable[[str, Sequence[str], Path], subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def forked_tool(tmp_path_factory) -> Iterator[Tool]:
    """Runs a tool of ``tools/`` with arguments in a folder; returns the finished process."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    printed = [str(tmp_path_factory.mktemp("printed") / name) for name in ("out", "err")]
    with subprocess.Popen([sys.executable, "-c", SERVER], **pipes) as server:

        def run(tool: str, arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess:
            argv = [str(ROOT / "tools" / tool), *arguments]
            server.stdin.write(json.dumps([argv, os.fspath(cwd), *printed]) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
            return subprocess.CompletedProcess(argv, code, *(Path(p).read_text() for p in printed))

        yield run
        server.stdin.close()
