"""A user's own parts, registered by modules that a configuration names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError

BACKBONE = """
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn


class OneConvolution(Backbone):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 4, 4)

    def output_shape(self):
        return {"res2": ShapeSpec(channels=8, stride=4)}

    def forward(self, images):
        return {"res2": self.layer(images)}


@BACKBONE_REGISTRY.register()
def build_one_convolution(cfg, input_shape):
    return OneConvolution()
"""


@pytest.fixture
def plug_in(project, tmp_path) -> Path:
    """A configuration with a backbone of a module beside it, both outside the working directory."""
    (tmp_path / "one_convolution_beside.py").write_text(BACKBONE)
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"_BASE_: {project / 'tiny.yaml'}\n"
        "EXTRA_MODULES: [one_convolution_beside]\n"
        "MODEL: {WEIGHTS: '', BACKBONE: {NAME: build_one_convolution}}\n"
        f"SOLVER: {{MAX_ITER: 2}}\nOUTPUT_DIR: {tmp_path / 'output'}\n"
    )
    return path


def test_a_backbone_beside_the_configuration_trains_and_labels(plug_in, run_tool, tmp_path):
    done = run_tool("train_net.py", "--config-file", str(plug_in))
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "output" / "model_final.pth").is_file()
    labels = str(tmp_path / "labels.json")
    done = run_tool(  # two spawned processes build it too
        "export_pseudo_labels.py", "--config-file", str(plug_in), "--output", labels, "--jobs", "2"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert Path(labels).is_file()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'my_part_of_nowhere'"),
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_package_at_all", "No module named 'no_such_package_at_all'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(content, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = "my_part_of_nowhere" if content is None else f"my_part_{len(content)}"
    if content is not None:
        (tmp_path / f"{name}.py").write_text(content)
    (tmp_path / "mine.yaml").write_text(f"EXTRA_MODULES: [{name}]")
    with pytest.raises(InputError, match=rf"EXTRA_MODULES: {name} cannot be imported \(.*{reason}"):
        load_config(str(tmp_path / "mine.yaml"))
