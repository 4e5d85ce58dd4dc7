"""Prepare the virtual environment behind `make demo` and `make test`.

A Detectron2 with compiled operators that the starting interpreter can import is used as it is (the
environment then sees that interpreter's packages); else third_party/detectron2 is built. Standard
library only: this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INPUTS = (
    "setup.py",
    "pyproject.toml",
    "constraints.txt",
    "tools/setup_env.py",
    "third_party/detectron2/*.*",
)
STATE_FILE = "bestie_d2_setup.json"
LOG_TAIL = 25

_FIND_COMPILED_DETECTRON2 = """
import json, sysconfig
from importlib.metadata import version
import detectron2.layers, detectron2.model_zoo
from detectron2 import _C
if not getattr(_C, "PURE_PYTHON", False):
    pins = {name: version(name) for name in ("torch", "torchvision", "numpy")}
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    print(json.dumps({"version": detectron2.__version__, "pins": pins, "folders": folders}))
"""


class SetupError(Exception):
    """Set-up cannot go on; the message says why and what to do."""


class Environment:
    """A virtual environment with a note of what it was made from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.log = folder / "setup.log"
        self._state_file = folder / STATE_FILE

    @property
    def state(self) -> dict[str, str]:
        """What was last noted; empty for a half-finished one."""
        try:
            return json.loads(self._state_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def matches(self, **expected: str) -> bool:
        """Whether the environment is complete and was made from what is expected."""
        state = self.state
        return (
            bool(state)
            and self.python.exists()
            and all(state.get(key) == value for key, value in expected.items())
        )

    def start_afresh(self) -> None:
        """Empty the folder, unless it holds something that is not ours."""
        if self.folder.exists() and any(self.folder.iterdir()) and not self._state_file.exists():
            raise SetupError(
                f"{self.folder} exists and was not made by this set-up: "
                "choose another place with VENV=..."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.note()
        for entry in self.folder.iterdir():
            if entry == self._state_file:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def note(self, **state: str) -> None:
        """Note what the environment is made from; nothing while it is incomplete."""
        scratch = self._state_file.with_suffix(".new")
        scratch.write_text(json.dumps(state) + "\n", encoding="utf-8")
        os.replace(scratch, self._state_file)

    def run(self, what: str, *command: str | os.PathLike[str]) -> None:
        """Run one step quietly; say what it was and how long it took."""
        print(f"[setup] {what} ...", end="", flush=True)
        start = time.monotonic()
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n[setup] {what}\n")
            log.flush()
            result = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        print(f" {time.monotonic() - start:.0f} s", flush=True)
        if result.returncode != 0:
            tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:]
            print("\n".join(tail), file=sys.stderr)
            raise SetupError(f"{what}: failed, see above and {self.log}")

    def pip_install(self, what: str, *arguments: str) -> None:
        """`pip install` inside the environment."""
        options = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
        self.run(what, self.python, "-m", "pip", "install", *options, *arguments)


def digest_of_inputs(root: Path = ROOT) -> str:
    """A fingerprint of everything the environment is made from."""
    digest = hashlib.sha256(str(root).encode())
    for pattern in INPUTS:
        for file in sorted(filter(Path.is_file, root.glob(pattern))):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def interpreter_for(folder: Path) -> str:
    """The running interpreter; its base when it is the one of the environment itself."""
    inside = Path(sys.prefix).resolve() == folder.resolve()
    return os.path.realpath(sys._base_executable) if inside else sys.executable


def find_compiled_detectron2(interpreter: str) -> dict | None:
    """Version, pins and folders of a compiled Detectron2 that `interpreter` can import."""
    result = subprocess.run(
        [interpreter, "-W", "ignore", "-c", _FIND_COMPILED_DETECTRON2],
        cwd=Path(interpreter).parent,
        capture_output=True,
        text=True,
    )
    found = result.stdout.splitlines()
    complaint = result.stderr.strip().splitlines()
    if complaint and "No module named 'detectron2'" not in complaint[-1]:
        print(f"[setup] cannot use the Detectron2 of {interpreter}: {complaint[-1]}")
    return json.loads(found[-1]) if result.returncode == 0 and found else None


def share_packages(environment: Environment, compiled: dict) -> Path:
    """Let the environment see the compiled Detectron2; return constraints that keep its torch."""
    # --system-site-packages leads to the base interpreter only, not to a parent environment;
    # addsitedir follows the parent's own .pth files too (an editable Detectron2).
    packages = next(environment.folder.glob("lib/python3.*/site-packages"))
    lines = (f"import site; site.addsitedir({folder!r})\n" for folder in compiled["folders"])
    (packages / "shared_packages.pth").write_text("".join(lines))
    constraints = environment.folder / "shared_constraints.txt"
    pins = (f"{name}=={version.split('+')[0]}" for name, version in compiled["pins"].items())
    constraints.write_text("\n".join(pins) + "\n")
    return constraints


def set_up(environment: Environment, interpreter: str, origin: str) -> str:
    """Make or renew the environment; return the version of the Detectron2 it shares, or ""."""
    compiled = find_compiled_detectron2(interpreter)
    shared = compiled["version"] if compiled else ""
    if environment.matches(origin=origin, shared=shared):
        environment.note()
    else:
        environment.start_afresh()
        options = ["--system-site-packages"] if compiled else []
        create = [interpreter, "-m", "venv", *options, str(environment.folder)]
        environment.run(f"Python {sys.version.split()[0]} environment", *create)
    constraints = ROOT / "constraints.txt"
    if compiled:
        print(f"[setup] using the compiled Detectron2 {shared} of {interpreter}")
        constraints = share_packages(environment, compiled)
    environment.pip_install(
        "PyTorch, bestie_d2 and its test tools (one to three minutes when new)",
        *("--constraint", str(constraints), "--editable", ".[test]"),
    )
    if not compiled:
        environment.pip_install(
            "Detectron2 0.6, pure-Python build",
            *("--constraint", str(constraints), "./third_party/detectron2"),
        )
    environment.run(
        "first import",
        *(environment.python, "-W", "ignore", "-c"),
        "import torchvision, timm, detectron2.modeling, detectron2.model_zoo, bestie_d2",
    )
    return shared


def main() -> int:
    """Return the exit status for `make`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the environment is or goes")
    parser.add_argument(
        "--strict-python",
        action="store_true",
        help="make it anew if it was made with another interpreter than the running one",
    )
    arguments = parser.parse_args()
    environment = Environment(Path(os.path.abspath(arguments.folder)))
    interpreter = interpreter_for(environment.folder)
    origin = f"Python {sys.version.split()[0]} in {sys.prefix}"
    if interpreter != sys.executable:
        origin = f"Python {sys.version.split()[0]} in {sys.base_prefix}"
    digest = digest_of_inputs()
    expected = {"digest": digest, **({"origin": origin} if arguments.strict_python else {})}
    if environment.matches(**expected):
        return 0
    try:
        start = time.monotonic()
        shared = set_up(environment, interpreter, origin)
        environment.note(digest=digest, origin=origin, shared=shared)
        print(f"[setup] ready in {time.monotonic() - start:.0f} s: {arguments.folder}", flush=True)
    except SetupError as error:
        print(f"[setup] {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n[setup] interrupted; the next call starts afresh", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
