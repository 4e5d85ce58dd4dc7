"""tools/extract_cues.py on a tiny data set, with a classifier that never learned anything."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from bestie_d2.engine.configuration import load_config
from bestie_d2.runs import cue_extraction
from bestie_d2.storage.processes import only_run_for
from bestie_d2.storage.results import Results

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "extract_cues.py"

TINY = """
_BASE_: "{base}/pam_shapes.yaml"
MODEL:
  DEVICE: "cpu"
  WEIGHTS: "{folder}/classifier.pth"
  PAM:
    NUM_CLASSES: 2
    HEAD_CHANNELS: 8
  BESTIE:
    MIN_AREA: 4
INPUT:
  TEST_SIDE: 48
DATASETS:
  CUE_THRESHOLD: 0.5
  CUSTOM:
    - name: "tiny_cues"
      images: "{folder}/images"
      tags: "{folder}/tags.json"
      weak_maps: "{folder}/maps"
  TRAIN: ("tiny_cues",)
DATALOADER:
  NUM_WORKERS: 0
OUTPUT_DIR: "{folder}/output"
"""


@pytest.fixture(scope="module")
def project(tagged_images) -> Path:
    folder = tagged_images
    (folder / "tiny.yaml").write_text(TINY.format(base=ROOT / "configs", folder=folder))
    torch.manual_seed(0)
    model = build_model(load_config(str(folder / "tiny.yaml")))
    model.head.extra_conv4.weight.data.abs_()  # some place is active for every class
    model.head.extra_conv4.bias.data.zero_()
    torch.save({"model": model.state_dict()}, folder / "classifier.pth")
    return folder


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool(TOOL)


@pytest.fixture
def run(tool, project, run_main):
    """Runs the tool in this process; returns what it printed. ``code``: the exit code expected."""

    def run(*arguments: str, code: int = 0) -> str:
        return run_main(
            tool, [str(TOOL), "--config-file", str(project / "tiny.yaml"), *arguments], code
        )

    return run


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "new folder" / "cues.json"


@pytest.fixture(scope="module")
def whole(tool, project, tmp_path_factory) -> bytes:
    """The file of a run that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole") / "cues.json"
    before = sys.argv
    sys.argv = [str(TOOL), "--config-file", str(project / "tiny.yaml"), "--output", str(path)]
    tool.main()
    sys.argv = before
    return path.read_bytes()


def test_the_file_has_all_images_and_cues_of_their_tags_alone(whole, image_names, image_tags):
    content = json.loads(whole)
    assert [image["file_name"] for image in content["images"]] == image_names
    assert content["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    found = {image["id"]: set() for image in content["images"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for cue in content["points"]:
        found[cue["image_id"]].add(cue["category_id"])
        x, y = cue["point"]
        width, height = sizes[cue["image_id"]]
        assert 0 <= x < width
        assert 0 <= y < height
        assert 0.1 <= cue["score"] < 1
    assert any(found.values())
    for tags, classes in zip(image_tags, found.values(), strict=True):
        assert classes <= set(tags)


def test_a_killed_run_goes_on_to_the_same_bytes(run, project, output, whole, die_after_two_results):
    argv = [str(TOOL), "--config-file", str(project / "tiny.yaml"), "--output", str(output)]
    die_after_two_results(argv)
    assert not output.exists()
    assert (output.with_name("cues.json.parts") / "results_0.sqlite-journal").exists()
    assert "2 images are done already, 3 to go" in run("--output", str(output))
    assert output.read_bytes() == whole
    assert [path.name for path in output.parent.iterdir()] == ["cues.json"]


def test_ctrl_c_keeps_what_is_done_and_several_processes_finish_it(run, output, whole, monkeypatch):
    whole_result = cue_extraction.cues_and_counts

    def interrupted(record: dict, *arguments: object, **options: object) -> dict:
        if record["image_id"] == 11:
            raise KeyboardInterrupt
        return whole_result(record, *arguments, **options)

    monkeypatch.setattr(cue_extraction, "cues_and_counts", interrupted)
    assert "run the same command again" in run("--output", str(output), code=130)
    monkeypatch.undo()
    assert "1 images are done already" in run("--output", str(output), "--jobs", "2")
    assert output.read_bytes() == whole


def test_other_settings_do_not_go_on(run, output, whole):
    output.parent.mkdir()
    results = Results(output)
    results.begin({"MODEL.PAM.ALPHA": "0.1"})
    results.put(11, {}, process=3)
    line = run("--output", str(output), code=2)
    assert "MODEL.PAM.ALPHA was 0.1, is " in line
    assert "--overwrite" in line
    run("--output", str(output), "--overwrite")
    assert output.read_bytes() == whole


def test_a_finished_file_stays_unless_told_otherwise(run, output, whole):
    output.parent.mkdir()
    output.write_text("mine")
    assert "is there already; --overwrite" in run("--output", str(output), code=2)
    assert output.read_text() == "mine"
    run("--output", str(output), "--overwrite")
    assert output.read_bytes() == whole
    assert "is a folder; name a file" in run("--output", str(output.parent), code=2)


def test_a_second_run_on_the_same_output_is_refused(run, output):
    output.parent.mkdir()
    with only_run_for(output):
        line = run("--output", str(output), code=2)
    assert f"--output {output}: another run is working there (process {os.getpid()}, " in line
    assert list(output.parent.iterdir()) == []


def test_an_unreadable_image_stops_the_run_or_is_left_out(run, project, output, image_names):
    path = project / "images" / image_names[1]
    image = path.read_bytes()
    output.parent.mkdir()
    output.write_text("mine")
    try:
        path.write_bytes(image[: len(image) // 2])
        line = run("--output", str(output), "--overwrite", code=2)
        assert f"image {path}: not a readable image" in line
        assert "--skip-bad" in line
        assert output.read_text() == "mine"
        out = run("--output", str(output), "--overwrite", "--skip-bad", "--draw", "5")
        assert f"left out: image {path}" in out
        path.unlink()
        assert "no such file" in run("--output", str(output), "--overwrite", code=2)
        run("--output", str(output), "--overwrite", "--skip-bad")
    finally:
        path.write_bytes(image)
    images = json.loads(output.read_text())["images"]
    assert [entry["file_name"] for entry in images] == [image_names[0], *image_names[2:]]
    pictures = sorted(p.name for p in output.parent.glob("*.png"))
    assert pictures == ["cues-pictures_1.png", "cues-pictures_2.png"]


def test_summary_and_pictures(run, output):
    out = run("--output", str(output), "--draw", "3", "--alpha", "0.3", "SEED", "3")
    assert "cues above 0.5: " in out
    assert " in 5 images" in out
    assert "weak components with none / exactly one / several of them" in out
    assert f"cues written to {output}" in out
    with Image.open(output.with_name("cues-pictures_1.png")) as sheet:
        assert sheet.mode == "RGB"


def test_several_alphas_are_compared_and_nothing_is_written(run, tmp_path):
    out = run("--alpha", "0", "0.9", "MODEL.PAM.CUES.MIN_SCORE", "0.2")
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("0")]
    assert [row[0] for row in rows] == ["0", "0.9"]
    assert all(sum(map(int, row[4:7])) == 5 for row in rows)  # one component of each tag
    assert "<- most components with exactly one cue" in out
    assert list(tmp_path.iterdir()) == []


def test_refusals(run, output, tmp_path):
    name = ("--output", str(output))
    assert "--output: name the cue file" in run(code=2)
    assert "several are only compared" in run("--alpha", "0.1", "0.2", *name, code=2)
    assert "--alpha x: expected a number" in run(*name, "--alpha", "x", code=2)
    assert "--alpha 2: expected 0 to 1" in run(*name, "--alpha", "2", code=2)
    assert "--jobs 0: expected 1 or more" in run(*name, "--jobs", "0", code=2)
    assert "'nothing' is not registered" in run(*name, "--dataset", "nothing", code=2)
    assert "nowhere.pth: no such file" in run(*name, "MODEL.WEIGHTS", "nowhere.pth", code=2)
    assert "no weights" in run(
        *name, "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(tmp_path / "empty"), code=2
    )
    assert "DATASETS.WEAK_MAPS nowhere" in run(*name, "DATASETS.WEAK_MAPS", "nowhere", code=2)
    assert "the model has 3 classes" in run(*name, "MODEL.PAM.NUM_CLASSES", "3", code=2)
    assert "cues come from a PAMClassifier" in run(
        *name, "MODEL.META_ARCHITECTURE", "BESTIE", code=2
    )
    file = tmp_path / "file"
    file.write_text("")
    assert "cannot be made a folder" in run("--output", str(file / "cues.json"), code=2)
