from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from bestie_d2.engine.command_line import run_tool

# Names and tags of the images; the tags are category ids of the file, with a gap.
NAMES = ["fünf.png", "a b.png", "日本.png", "d.png", "e.png"]
TAGS = [[3], [3, 7], [7], [], [7]]

# Runs the tool until so many results are there, then dies in the middle of the next one.
KILLED = """
import os, signal, sys
sys.path.insert(0, {tools!r})
from bestie_d2.storage.results import Results
whole, count = Results.put, 0
def put(self, image_id, result, process=0):
    global count
    if count == 2:
        with self._database(process) as database:
            database.execute("PRAGMA cache_size = 1")  # half of it gets to the disk
            database.execute("INSERT INTO results VALUES ('5', ?)", ["half" * 10**6])
            os.kill(os.getpid(), signal.SIGKILL)
    whole(self, image_id, result, process)
    count += 1
Results.put = put
sys.argv = {argv!r}
import {tool}
{tool}.main()
"""


def _write(folder: Path) -> None:
    images, annotations = [], []
    random = np.random.default_rng(0)
    for number, (name, tags) in enumerate(zip(NAMES, TAGS, strict=True)):
        height, width = 40 + 3 * number, 61 - 5 * number
        pixels = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        weak_map = np.zeros((height, width), np.uint8)
        weak_map[:20], weak_map[25:] = 1, 2
        Image.fromarray(weak_map).save(folder / "maps" / name)
        image_id = 10 * number + 1
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        annotations += [{"image_id": image_id, "category_id": tag} for tag in tags]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "tags.json").write_text(json.dumps(content))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As many threads in every process, killed, gone on or one of several: on some processors the
    last digit of a convolution depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def image_names() -> list[str]:
    return list(NAMES)


@pytest.fixture
def image_tags() -> list[list[int]]:
    return [list(tags) for tags in TAGS]


@pytest.fixture(scope="module")
def tagged_images(tmp_path_factory) -> Path:
    """A folder with five small images, weak maps of them, and the images' tags."""
    folder = tmp_path_factory.mktemp("tagged")
    for name in ("images", "maps"):
        (folder / name).mkdir()
    _write(folder)
    return folder


@pytest.fixture
def die_after_two_results() -> Callable[[list[str]], None]:
    """Runs a tool that keeps results of single images, and kills it in the middle of the third."""

    def run(argv: list[str]) -> None:
        tool = Path(argv[0])
        program = KILLED.format(tools=str(tool.parent), tool=tool.stem, argv=argv)
        died = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=200)
        assert died.returncode == -9, died.stderr[-2000:]

    return run


@pytest.fixture(scope="session")
def load_tool() -> Callable[[Path], ModuleType]:
    """Loads a tool by its file."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # its functions travel to other processes by this name
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def call_main(monkeypatch, capsys) -> Callable[[ModuleType, list[str], int], tuple[str, str]]:
    """Runs a loaded tool in this process and expects an exit code; returns what it printed, and
    what it complained of."""

    def call(tool: ModuleType, argv: list[str], code: int) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", argv)
        if code:
            with pytest.raises(SystemExit) as stop:
                run_tool(tool.main)
            assert stop.value.code == code
        else:
            run_tool(tool.main)
        return capsys.readouterr()

    return call


@pytest.fixture
def run_main(call_main) -> Callable[[ModuleType, list[str], int], str]:
    """The same; returns what the tool printed, or for another code than 0 its complaints."""

    def run(tool: ModuleType, argv: list[str], code: int = 0) -> str:
        printed, complaints = call_main(tool, argv, code)
        return complaints if code else printed

    return run
