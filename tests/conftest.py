"""What all tests share."""

from __future__ import annotations

# First: it says how torch's threads wait, before torch is imported.
from bestie_d2.data.datasets import weak

# isort: split

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import settings
from PIL import Image

from bestie_d2.data.paths import datasets_root

pytest_plugins = ["finished_run", "forked_tools", "package_of_weights", "tiny_project"]

ROOT = Path(__file__).resolve().parents[1]
SHARED_VARIABLE = "BESTIE_D2_SHARED"

# Time limits of single examples would fail on a busy machine.
settings.register_profile("bestie_d2", deadline=None, derandomize=True)
settings.load_profile("bestie_d2")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: one that several processes came to last would run alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _limit_of_pictures(monkeypatch) -> None:
    """Predictions lift Pillow's limit in the whole process; the next test has it again."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference vectors and small real data, which is no part of the project."""
    folder = Path(os.environ.get(SHARED_VARIABLE, ROOT.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data: set {SHARED_VARIABLE} to the folder that has 'reference'")
    return folder


@pytest.fixture
def new_name(tmp_path: Path) -> Callable[[], str]:
    """Names of data sets that no other test has."""
    numbers = itertools.count()
    return lambda: f"{tmp_path.name}_{next(numbers)}"


def _forget(names: Iterable[str]) -> None:
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
        weak._registered.pop(name, None)


@pytest.fixture
def register_again() -> Iterator[Callable[[Callable[[str], None], Iterable[str], Path], None]]:
    """Registers built-in data sets as if they lay in another folder; undone afterwards."""
    done = []

    def forget(names: Iterable[str]) -> None:
        subsets = [n for n in DatasetCatalog.list() if n.partition("@")[0] in names and "@" in n]
        _forget((*names, *subsets))

    def register(function: Callable[[str], None], names: Iterable[str], root: Path) -> None:
        forget(names)
        function(str(root))
        done.append((function, names))

    yield register
    for function, names in done:
        forget(names)
        function(datasets_root())


@contextmanager
def _new_data_sets_forgotten() -> Iterator[None]:
    before = set(DatasetCatalog.list())
    yield
    _forget(set(DatasetCatalog.list()) - before)


@pytest.fixture(scope="module", autouse=True)
def _forget_data_sets() -> Iterator[None]:
    """Names of data sets that a module's tests register are free for the next one's."""
    with _new_data_sets_forgotten():
        yield


@pytest.fixture
def forget_data_sets() -> Iterator[None]:
    """The same for the next test."""
    with _new_data_sets_forgotten():
        yield
