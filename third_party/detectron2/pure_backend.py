"""PEP 517 build backend: a pure-Python wheel of Detectron2 0.6, patched for today's PyTorch.

pip fetches the hash-pinned source distribution named in `source.txt`; none of its code is run. The
wheel holds the release's Python tree, its model-zoo configs and the projects that the release
installs below `detectron2.projects`; `detectron2._C` is the stub in `stub_C.py`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from source_patches import PATCHES, PatchError

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source.txt"
VERSION = "0.6+pure"
DIST_INFO = f"detectron2-{VERSION}.dist-info"
WHEEL_NAME = f"detectron2-{VERSION}-py3-none-any.whl"

# Only what is imported; the release's upper bounds and its pin of black are let go.
REQUIRES = (
    "cloudpickle",
    "fvcore>=0.1.5",
    "hydra-core>=1.1",
    "iopath>=0.1.9",
    "matplotlib",
    "numpy",
    "omegaconf>=2.1",
    "opencv-python-headless",
    "Pillow>=9.1",
    "pycocotools>=2.0.2",
    "PyYAML",
    "tabulate",
    "tensorboard",
    "termcolor>=1.1",
    "torch>=2.4",
    "torchvision",
    "tqdm>4.29.0",
    "yacs>=0.1.8",
)

# As in the release's setup.py.
PROJECTS = {
    "point_rend": "projects/PointRend/point_rend",
    "deeplab": "projects/DeepLab/deeplab",
    "panoptic_deeplab": "projects/Panoptic-DeepLab/panoptic_deeplab",
}


class BuildError(SystemExit):
    """Ends the build with one line, without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(f"detectron2 (pure-Python build): {message}")


def metadata_files() -> dict[str, str]:
    """The files of the wheel's dist-info folder, but for RECORD and the license."""
    metadata = [
        "Metadata-Version: 2.1",
        "Name: detectron2",
        f"Version: {VERSION}",
        "Summary: Detectron2 0.6 without its compiled operators, patched for current PyTorch.",
        "Home-page: https://github.com/facebookresearch/detectron2",
        "Author: FAIR",
        "License: Apache-2.0",
        "Requires-Python: >=3.10",
        *(f"Requires-Dist: {requirement}" for requirement in REQUIRES),
    ]
    wheel = [
        "Wheel-Version: 1.0",
        "Generator: pure_backend",
        "Root-Is-Purelib: true",
        "Tag: py3-none-any",
    ]
    return {"METADATA": "\n".join(metadata) + "\n", "WHEEL": "\n".join(wheel) + "\n"}


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings=None) -> str:
    """PEP 517 hook: the metadata alone, without fetching anything."""
    folder = Path(metadata_directory) / DIST_INFO
    folder.mkdir()
    for name, text in metadata_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return DIST_INFO


def build_wheel(wheel_directory: str, config_settings=None, metadata_directory=None) -> str:
    """PEP 517 hook: fetch, patch and pack."""
    with tempfile.TemporaryDirectory() as scratch:
        root = unpack(fetch_source(Path(scratch)), Path(scratch))
        patch_sources(root)
        write_wheel(root, Path(wheel_directory) / WHEEL_NAME)
    return WHEEL_NAME


def build_sdist(sdist_directory: str, config_settings=None) -> str:
    """PEP 517 hook: there is nothing to distribute beside the index's source distribution."""
    raise BuildError("builds a wheel only")


def fetch_source(folder: Path) -> Path:
    """Let pip fetch the source distribution into `folder`, its hash checked.

    `pip download` insists on metadata, for which it would run the sdist's setup.py (it imports
    torch) and then refuse what that declares. A few lines named `setuptools` stand in for it.
    """
    shim = folder / "shim"
    (shim / "setuptools").mkdir(parents=True)
    (shim / "setuptools" / "__init__.py").touch()
    (shim / "setuptools" / "build_meta.py").write_text(_METADATA_SHIM, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--no-binary", ":all:", "--no-build-isolation"]
    command += ["--dest", str(folder), "--requirement", str(SOURCE)]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("_PYPROJECT_HOOKS_", "PEP517_", "PIP_CONSTRAINT"))
    }
    environment = {
        **inherited,
        "PYTHONPATH": str(shim),
        "PIP_USE_PEP517": "1",  # pip before 25.3 would run setup.py without it
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "SETUPTOOLS_USE_DISTUTILS": "stdlib",
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    archives = sorted(folder.glob("*.tar.gz"))
    if result.returncode != 0 or len(archives) != 1:
        raise BuildError(explain_failed_download(result.stdout + result.stderr))
    return archives[0]


_METADATA_SHIM = '''
"""Gives pip the two lines of metadata that it wants to see."""
from pathlib import Path


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory) / "pb1_detectron2-0.6.dist-info"
    folder.mkdir()
    text = "Metadata-Version: 2.1\\nName: pb1-detectron2\\nVersion: 0.6\\n"
    (folder / "METADATA").write_text(text)
    return folder.name


class _Legacy:
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)


__legacy__ = _Legacy()
'''


def explain_failed_download(output: str) -> str:
    """One line for what pip said when it could not fetch the source distribution."""
    if "DO NOT MATCH THE HASHES" in output:
        return "the index's pb1-detectron2 0.6 is not the pinned file (SHA-256 differs)"
    if "No module named pip" in output:
        return "needs pip in this interpreter to fetch its source distribution"
    if "No matching distribution" in output or "Could not find a version" in output:
        return "cannot fetch pb1-detectron2 0.6: offline, or the package index does not hold it"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"pip could not fetch pb1-detectron2 0.6: {lines[-1] if lines else 'no output'}"


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the source distribution; return its root folder."""
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    root = folder / archive.name.removesuffix(".tar.gz")
    if not (root / "detectron2").is_dir():
        raise BuildError(f"{archive.name} does not hold the package detectron2")
    return root


def patch_sources(root: Path) -> None:
    """Apply every patch; one that does not fit ends the build."""
    for patch in PATCHES:
        try:
            patch.apply(root)
        except PatchError as error:
            raise BuildError(f"patch does not fit: {error}") from None


def wheel_contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """(name in the wheel, content) of everything but RECORD."""
    for package, source in {
        "detectron2": "detectron2",
        **{f"detectron2/projects/{name}": path for name, path in PROJECTS.items()},
    }.items():
        for file in sorted((root / source).rglob("*")):
            if file.suffix in (".py", ".yaml"):
                yield f"{package}/{file.relative_to(root / source).as_posix()}", file.read_bytes()
    yield "detectron2/_C.py", (HERE / "stub_C.py").read_bytes()
    yield f"{DIST_INFO}/LICENSE", (root / "LICENSE").read_bytes()
    for name, text in metadata_files().items():
        yield f"{DIST_INFO}/{name}", text.encode()


def write_wheel(root: Path, wheel: Path) -> None:
    """Pack the patched tree, byte for byte the same each time."""
    record = []
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in wheel_contents(root):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}\n")
            _write(archive, name, content)
        record.append(f"{DIST_INFO}/RECORD,,\n")
        _write(archive, f"{DIST_INFO}/RECORD", "".join(record).encode())


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=(2021, 11, 15, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)
