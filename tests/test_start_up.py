"""What `import bestie_d2` does: threads sleep before torch comes, parts register, no warnings."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bestie_d2 import start_up

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tools", "datasets", "benchmarks")
COMMANDS = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8") and path.stem != "setup_env"
]
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

# Runs a file up to its first import of torch, and prints what is set there.
UP_TO_TORCH = """
import os, runpy, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print([os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")])
            sys.stdout.flush()
            os._exit(0)

sys.meta_path.insert(0, Watch())
sys.path.insert(0, os.path.dirname(sys.argv[1]))
runpy.run_path(sys.argv[1], run_name="a_command")
print("no torch")
"""


def environment(**ours: str) -> dict[str, str]:
    rest = {key: value for key, value in os.environ.items() if key not in NAMES}
    return rest | ours | {"PYTHONPATH": str(ROOT)}


def at_torch(path: Path, **ours: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", UP_TO_TORCH, str(path)],
        env=environment(**ours),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_sets_it_before_torch(path):
    assert at_torch(path) == "['10000', None]"


def test_all_commands_are_there():
    names = [path.stem for path in COMMANDS]
    assert {"train_net", "check_data", "prepare_voc", "run", "side_by_side"} <= set(names)
    assert len(names) == 21


def test_the_tests_set_it_before_torch():
    assert at_torch(ROOT / "tests" / "conftest.py") == "['10000', None]"


@pytest.mark.parametrize("package", ["data", "modeling", "weights.files"])
def test_every_part_of_the_package_sets_it_before_torch(package, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"import bestie_d2.{package}")
    assert at_torch(program) == "['10000', None]"


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ({"GOMP_SPINCOUNT": "7"}, "['7', None]"),
        ({"OMP_WAIT_POLICY": "passive"}, "[None, 'passive']"),
        ({"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "0"}, "['0', 'active']"),
    ],
)
def test_the_users_settings_win(ours, expected):
    assert at_torch(ROOT / "tools" / "train_net.py", **ours) == expected


def test_processes_started_later_inherit_it():
    program = (
        "import bestie_d2, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.environ[\"GOMP_SPINCOUNT\"])'])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout == "10000\n", done.stderr


def test_one_import_registers_everything_and_warns_of_nothing():
    program = (
        "import bestie_d2\n"
        "from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY\n"
        "from detectron2.data import DatasetCatalog\n"
        "assert {'BESTIE', 'PAMClassifier', 'SingleStageWSSS'} <= set(dict(META_ARCH_REGISTRY))\n"
        "assert {'build_hrnet_backbone', 'build_vgg_backbone'} <= set(dict(BACKBONE_REGISTRY))\n"
        "assert 'WeakInstanceMapper' in bestie_d2.MAPPER_REGISTRY\n"
        "assert 'shapes_train' in DatasetCatalog, DatasetCatalog.list()\n"
        "import bestie_d2.functional as F; assert all(hasattr(F, name) for name in F.__all__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")


# Prints how many bytes of a large block lie outside the heap, in blocks of the system's own.
LARGE_BLOCK = """
import ctypes, bestie_d2.start_up
class Statistics(ctypes.Structure):  # struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in "a b c d outside f g h i j".split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Statistics
before = libc.mallinfo2().outside
block = bytearray(2**26)
print(libc.mallinfo2().outside - before >= 2**26)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no glibc from 2.33 on")
@pytest.mark.parametrize(
    ("ours", "outside"), [({}, "False\n"), ({"MALLOC_MMAP_MAX_": "65536"}, "True\n")]
)
def test_large_blocks_are_kept_unless_the_user_says_otherwise(ours, outside):
    command = [sys.executable, "-c", LARGE_BLOCK]
    done = subprocess.run(command, env=environment(**ours), capture_output=True, text=True)
    assert done.stdout == outside, done.stderr


def test_another_malloc_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(start_up.ctypes, "CDLL", None)  # would fail if called
    start_up.keep_freed_memory()
