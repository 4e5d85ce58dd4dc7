"""tools/make_weak_maps.py with networks that never learned anything: files, going on, refusals."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from PIL import Image

from bestie_d2.data import EvaluationMapper
from bestie_d2.engine.configuration import load_config
from bestie_d2.labeling.weak_maps import cams_to_index_map
from bestie_d2.runs.staged_maps import StagedMaps
from bestie_d2.storage import machine_shares
from bestie_d2.storage.processes import only_run_for

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "make_weak_maps.py"
METHODS = {"cam": ("pam", "PAM"), "single-stage": ("wsss", "WSSS")}

TINY = """
_BASE_: "{base}/{stage}_shapes.yaml"
MODEL:
  DEVICE: "cpu"
  WEIGHTS: "{folder}/{stage}.pth"
  {node}:
    NUM_CLASSES: 2
    HEAD_CHANNELS: 8
INPUT:
  TEST_SIDE: 48
DATASETS:
  CUSTOM:
    - name: "tiny_maps"
      images: "{folder}/images"
      tags: "{folder}/tags.json"
  TRAIN: ("tiny_maps",)
DATALOADER:
  NUM_WORKERS: 0
OUTPUT_DIR: "{folder}/output"
"""

# Runs the tool until so many maps are there, then dies in the middle of writing the next one.
KILLED = """
import os, signal, sys
sys.path.insert(0, {tools!r})
from PIL import Image
whole, count = Image.Image.save, 0
def save(self, file, **options):
    global count
    if count == 2:
        file.write(b"half a PNG")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, file, **options)
    count += 1
Image.Image.save = save
sys.argv = {argv!r}
import make_weak_maps
make_weak_maps.main()
"""


@pytest.fixture(scope="module")
def project(tagged_images) -> Path:
    for stage, node in METHODS.values():
        text = TINY.format(base=ROOT / "configs", folder=tagged_images, stage=stage, node=node)
        (tagged_images / f"{stage}.yaml").write_text(text)
        torch.manual_seed(0)
        model = build_model(load_config(str(tagged_images / f"{stage}.yaml")))
        if stage == "pam":
            model.head.extra_conv4.weight.data.abs_()  # some place is active for every class
            model.head.extra_conv4.bias.data.zero_()
        torch.save({"model": model.state_dict()}, tagged_images / f"{stage}.pth")
    return tagged_images


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool(TOOL)


def words(project: Path, method: str, output: Path, *arguments: str) -> list[str]:
    config = project / f"{METHODS[method][0]}.yaml"
    network = ["--method", method, "--config-file", str(config), "--output", str(output)]
    return [str(TOOL), *network, *arguments]


@pytest.fixture
def run(tool, project, tmp_path, run_main):
    """Runs the tool in this process; returns what it printed. ``code``: the exit code expected."""

    def run(method: str, *arguments: str, code: int = 0) -> str:
        return run_main(tool, words(project, method, tmp_path / "maps", *arguments), code)

    return run


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.parametrize("method", METHODS)
def test_a_map_for_every_image_with_its_tags_alone(
    run, project, tmp_path, image_names, image_tags, method
):
    printed = run(method)
    assert "5 maps written" in printed
    assert "5 of 5 maps can be used" in printed
    assert sorted(path.name for path in (tmp_path / "maps").glob("*.png")) == sorted(image_names)
    indices = {3: 1, 7: 2}  # of the category ids
    for name, tags in zip(image_names, image_tags, strict=True):
        with Image.open(tmp_path / "maps" / name) as drawn:
            assert drawn.mode == "P"
            with Image.open(project / "images" / name) as image:
                assert drawn.size == image.size
            assert set(np.unique(np.array(drawn))) <= {0} | {indices[tag] for tag in tags}


def test_cam_maps_are_the_thresholded_activations(run, project, tmp_path):
    run("cam", "--cam-threshold", "0.6")
    cfg = load_config(str(project / "pam.yaml"))
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(project / "pam.pth")["model"])
    record = DatasetCatalog.get("tiny_maps")[1]
    (output,) = model([EvaluationMapper(cfg, is_train=False)(record)])
    size = (record["height"], record["width"])
    expected = cams_to_index_map(output["cams"], record["image_classes"], size, 0.6)
    with Image.open(tmp_path / "maps" / Path(record["file_name"]).name) as drawn:
        assert np.array_equal(np.array(drawn), expected)
    assert 0 < (expected > 0).mean() < 1


def test_a_run_that_was_killed_goes_on_to_the_same_files(run, project, tmp_path):
    run("cam")
    whole = digests(tmp_path / "maps")
    for path in (tmp_path / "maps").iterdir():
        path.unlink()
    argv = words(project, "cam", tmp_path / "maps")
    program = KILLED.format(tools=str(TOOL.parent), argv=argv)
    died = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=200)
    assert died.returncode == -9, died.stderr[-2000:]
    assert list((tmp_path / "maps").iterdir()) == []
    assert "2 images are done already, 3 to go" in run("cam")
    assert digests(tmp_path / "maps") == whole


@pytest.fixture
def lost_machine(monkeypatch, tmp_path) -> ExitStack:
    """Machine 2 of 3, which works on its share until the first one has to wait for it."""
    monkeypatch.setattr(machine_shares, "SECONDS_TO_BEGIN", 0.0)
    held = ExitStack()
    held.enter_context(only_run_for(tmp_path / "maps.share-2-of-3"))
    monkeypatch.setattr(machine_shares.time, "sleep", lambda seconds: held.close())
    return held


def interrupted_at(number: int, monkeypatch) -> None:
    """Ctrl-C where a run saves its map of this number, from 0."""
    save, count = StagedMaps.save, itertools.count()

    def save_or_stop(self: StagedMaps, *arguments: object) -> None:
        if next(count) == number:
            raise KeyboardInterrupt
        save(self, *arguments)

    monkeypatch.setattr(StagedMaps, "save", save_or_stop)


def test_machines_share_the_images(run, tmp_path, lost_machine, monkeypatch):
    maps = tmp_path / "maps"
    run("cam")
    whole = digests(maps)
    shutil.rmtree(maps)
    words = ("--num-machines", "3")
    assert "rank 0 has begun nothing" in run("cam", *words, "--machine-rank", "1", code=2)
    with monkeypatch.context() as patch:
        interrupted_at(1, patch)
        run("cam", *words, code=130)
    second = run("cam", *words, "--machine-rank", "1")
    assert "2 images of a share to go" in second
    assert f"the share of machine 1 of 3 is done; the machine of rank 0 writes {maps}" in second
    assert "another run is working" in run("cam", *words, "--machine-rank", "2", code=2)
    assert list(maps.iterdir()) == []
    first = run("cam", *words)
    assert "waiting for machine 2" in first
    assert first.count("1 images of a share to go") == 2
    assert digests(maps) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]
    assert "0 maps written" in run("cam", *words)


def test_machines_share_the_images_of_a_threshold(
    tool, project, tmp_path, lost_machine, monkeypatch, run_main
):
    maps = tmp_path / "maps"
    argv = [str(TOOL), "--images", str(project / "images"), "--output", str(maps)]
    run_main(tool, argv)
    whole = digests(maps)
    shutil.rmtree(maps)
    argv += ["--num-machines", "3"]
    with monkeypatch.context() as patch:
        interrupted_at(1, patch)
        run_main(tool, argv, 130)
    assert "is done; the machine" in run_main(tool, [*argv, "--machine-rank", "1"])
    first = run_main(tool, argv)
    assert "waiting for machine 2" in first
    assert "2 maps are there already" in first
    assert digests(maps) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


def test_an_unreadable_image(run, project, tmp_path, image_names):
    run("cam")
    before = digests(tmp_path / "maps")
    path = project / "images" / image_names[1]
    content = path.read_bytes()
    try:
        path.write_bytes(content[:40])
        error = run("cam", "--overwrite", code=2)
        assert f"image {path}: not a readable image" in error
        assert "--skip-bad" in error
        assert digests(tmp_path / "maps") == before
        assert "4 of 4" not in run("cam", "--overwrite", "--skip-bad")
        del before[image_names[1]]  # no old map under new settings
        assert digests(tmp_path / "maps") == before
    finally:
        path.write_bytes(content)


def test_refusals(run, tmp_path):
    assert "--method single-stage needs 'SingleStageWSSS'" in run(
        "single-stage", "MODEL.META_ARCHITECTURE", "BESTIE", code=2
    )
    assert "nowhere.pth: no such file" in run("cam", "MODEL.WEIGHTS", "nowhere.pth", code=2)
    assert "'nobody' is not registered" in run("cam", "--dataset", "nobody", code=2)
    assert "--method cam takes no --truth" in run("cam", "--truth", "x.json", code=2)
    assert "--cam-threshold 7: expected 0 to 1" in run("cam", "--cam-threshold", "7", code=2)
    assert "--min-margin nan: expected 0 to 1" in run("cam", "--min-margin", "nan", code=2)
    run("cam")
    error = run("cam", "--cam-threshold", "0.9", code=2)
    assert "cam_threshold=0.3" in error
    assert "cam_threshold=0.9" in error
