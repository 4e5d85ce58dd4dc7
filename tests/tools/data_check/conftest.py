from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from checked_data import CUES, ROOT, TOOL, WEAK, write_cues


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool(TOOL)


@pytest.fixture
def folder(tagged_images, tmp_path) -> Path:
    """Five images of two classes with maps, tags and cues, to be spoilt."""
    folder = tmp_path / "data"
    shutil.copytree(tagged_images, folder)
    write_cues(folder, CUES)
    return folder


@pytest.fixture
def check(tool, folder, call_main) -> Callable[..., str]:
    """Checks the folder as the data of a configuration and expects an exit code; returns what the
    tool printed, and below it the error's line, if any."""

    def run(
        base: str,
        changes: dict[str, object],
        *options: str,
        entry: dict[str, str] | None = None,
        test: tuple[str, ...] = (),
        code: int = 0,
    ) -> str:
        name = f"train_of_{folder.parent.name}"
        paths = {key: str(folder / path) for key, path in (entry or WEAK).items()}
        custom = [{"name": name, "images": str(folder / "images"), **paths}]
        node: dict = {"_BASE_": f"{ROOT}/configs/{base}.yaml"}
        node["DATASETS"] = {"CUSTOM": custom, "TRAIN": [name], "TEST": list(test)}
        node["OUTPUT_DIR"] = str(folder / "output")
        path = folder / "own.yaml"
        path.write_text(yaml.safe_dump(node))
        overrides = [str(word) for pair in changes.items() for word in pair]
        overrides += ["MODEL.DEVICE", "cpu"]
        argv = [str(TOOL), "--config-file", str(path), *options, *overrides]
        printed, complaints = call_main(tool, argv, code)
        return printed + "".join(complaints.splitlines(True)[-1:] if code else [])

    return run
