from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from tiny_pipeline import OWN, PIPELINE, TOOL, draw, stage_yaml, states_of

from bestie_d2.engine.command_line import run_tool


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with the data, the stages' configurations and the pipeline."""
    folder = tmp_path_factory.mktemp("pipeline")
    draw(folder)
    for stage in OWN:
        (folder / f"{stage}.yaml").write_text(stage_yaml(stage, folder))
    (folder / "tiny.yaml").write_text(PIPELINE)
    return folder


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool(TOOL)


@pytest.fixture
def run(tool, project, monkeypatch, capsys):
    """Run the tool in this process; returns its first words of each stage's line, and all lines."""

    def call(*arguments: str, config: str = "tiny.yaml") -> tuple[dict[str, str], str]:
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", ["run_pipeline.py", "--config", config, *arguments])
        run_tool(tool.main)
        printed = capsys.readouterr().out
        return states_of(printed), printed

    return call
