"""A wheel outside of the repository: its commands, tools in several processes, configurations."""

import os
import shutil
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest

from bestie_d2.__main__ import main
from bestie_d2.engine.configuration import load_config, setup_run
from bestie_d2.pipeline.definition import read_pipeline
from bestie_d2.shipped import config_path, shipped

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("bestie_d2", "configs", "tools", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the unpacked wheel; it is built from a copy, for a build leaves files there."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", "wheel"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    shutil.rmtree(source)
    return folder


def bestie(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bestie_d2", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_a_wheel_holds_every_configuration_and_tool(installed):
    for folder, suffix in (("configs", "yaml"), ("tools", "py")):
        packed = sorted((installed / "bestie_d2" / folder).rglob(f"*.{suffix}"))
        there = sorted((ROOT / folder).rglob(f"*.{suffix}"))
        assert [path.name for path in packed] == [path.name for path in there]
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "bestie = bestie_d2.__main__:main" in entry_points.read_text()


def test_a_tool_runs_in_processes_on_a_configuration_of_the_package(installed, project):
    text = (project / "tiny.yaml").read_text().replace(f"{ROOT}/configs/", "configs/")
    (project / "own.yaml").write_text(text)  # with a base of the package
    run = bestie(installed, project, "check-data", "--config-file", "own.yaml", "--jobs", "2")
    assert run.returncode == 0, run.stderr
    assert "a training could start" in run.stdout


def test_help_names_each_command_with_its_purpose(installed, tmp_path):
    told = bestie(installed, tmp_path, "--help").stdout
    assert "train " in told
    assert "Train or evaluate what a configuration file describes." in told
    assert "make-weak-maps " in told
    assert "setup-env" not in told


def test_an_unknown_command_is_refused_with_one_that_may_be_meant(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bestie", "check_dat"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == "error: no command 'check_dat', try check-data\n"


def test_a_configuration_is_found_in_the_package_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, place = "configs/bestie_shapes.yaml", shipped("configs") / "bestie_shapes.yaml"
    assert load_config(name).MODEL.BESTIE.SIGMA == 2.5
    assert f"{name}: not here; taken from the package, {place}" in capsys.readouterr().err
    pipeline = read_pipeline("configs/pipelines/shapes.yaml")
    assert load_config(pipeline.stages["pam"].config).MODEL.PAM.NUM_CLASSES == 4


def test_a_run_on_a_configuration_of_the_package_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/mrcnn_voc_animals.yaml"  # its second base is the package's too
    cfg = load_config(name, ["OUTPUT_DIR", "out", "MODEL.DEVICE", "cpu"])
    setup_run(cfg, Namespace(config_file=name, eval_only=True))
    assert str(shipped("configs") / "mrcnn_voc_animals.yaml") in Path("out/log.txt").read_text()


def test_a_file_that_is_there_comes_before_the_package_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/bestie_voc.yaml"
    assert config_path(name) == str(shipped("configs") / "bestie_voc.yaml")
    (tmp_path / "configs").mkdir()
    (tmp_path / name).touch()
    assert config_path(name) == name
    assert config_path("configs/nothing.yaml") == "configs/nothing.yaml"
