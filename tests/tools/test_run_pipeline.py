"""tools/run_pipeline.py: the chain from tags on a tiny data set, killed, gone on with, redone.

A training that goes on sees its images in another order than one that was never stopped (as with
Detectron2's own --resume), so its figures need not be the same; that it goes on from its checkpoint
is what is tested.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.engine.command_line import run_tool

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "run_pipeline.py"
STAGES = ["pam", "cues", "wsss", "maps", "bestie", "export", "mrcnn", "evaluate"]
SIDE = 64
COLORS = {1: (230, 60, 40), 2: (50, 90, 240)}  # of the squares, by category id
BESTIE_STEPS = 60  # enough to be killed in the middle

PIPELINE = """
name: tiny
supervision: tags
output: out
train_set: chain_train
test_set: chain_val
stages:
  pam: {config: pam.yaml}
  cues: {}
  wsss: {config: wsss.yaml, weights_from: pam}
  maps: {}
  bestie: {config: bestie.yaml}
  export: {score_threshold: 0.0}
  mrcnn: {config: mrcnn.yaml}
  evaluate: {}
"""
COMMON = {
    "MODEL.DEVICE": "cpu",
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.WARMUP_ITERS": 1,
    "DATALOADER.NUM_WORKERS": 0,
    "TEST.EVAL_PERIOD": 0,
}
OWN = {
    "pam": {
        "MODEL.PAM.NUM_CLASSES": 2,
        "INPUT.TAGS.CROP_SIZE": SIDE,
        "INPUT.TEST_SIDE": SIDE,
        "SOLVER.MAX_ITER": 40,
    },
    "wsss": {
        "MODEL.WSSS.NUM_CLASSES": 2,
        "INPUT.TAGS.CROP_SIZE": SIDE,
        "SOLVER.MAX_ITER": 30,
        "MODEL.WSSS.MASK_LOSS_START": 15,
        "MODEL.WSSS.BACKGROUND_LOGIT": 0.0,  # masks from the start, however coarse
        "MODEL.WSSS.FOCAL.POWER": 3.0,
    },
    "bestie": {
        "MODEL.BESTIE.NUM_CLASSES": 2,
        "INPUT.BESTIE.LONG_SIDE": SIDE + 1,
        "INPUT.BESTIE.CROP_SIZE": SIDE,
        "DATASETS.CUE_THRESHOLD": 0.0,
        "SOLVER.MAX_ITER": BESTIE_STEPS,
        "SOLVER.CHECKPOINT_PERIOD": 5,
    },
    "mrcnn": {
        "MODEL.ROI_HEADS.NUM_CLASSES": 2,
        "INPUT.MIN_SIZE_TRAIN": [SIDE],
        "INPUT.MIN_SIZE_TEST": SIDE,
        "SOLVER.MAX_ITER": 3,
        "SOLVER.STEPS": [],
    },
}


def _draw(folder: Path) -> None:
    """Six images of bright squares on dark ground, of one class or of both, and their truth."""
    (folder / "images").mkdir()
    images, objects = [], []
    for image_id in range(1, 7):
        random = np.random.default_rng(image_id)
        image = random.integers(0, 40, (SIDE, SIDE, 3), dtype=np.uint8)
        for number, category in enumerate([(1, 1), (2, 2), (1, 2)][image_id % 3]):
            top, left, side = random.integers(4, 30), 4 + 32 * number, random.integers(16, 24)
            mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
            mask[top : top + side, left : left + side] = 1
            image[mask > 0] = COLORS[category]
            rle = mask_api.encode(mask)
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "bbox": mask_api.toBbox(rle).tolist(),
                    "area": int(mask_api.area(rle)),
                    "iscrowd": 0,
                }
            )
        name = f"{image_id}.png"
        Image.fromarray(image).save(folder / "images" / name)
        images.append({"id": image_id, "file_name": name, "height": SIDE, "width": SIDE})
    tags = [{key: item[key] for key in ("image_id", "category_id")} for item in objects]
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    for name, entries in (("truth", objects), ("tags", tags)):
        content = {"images": images, "categories": categories, "annotations": entries}
        (folder / f"{name}.json").write_text(json.dumps(content))


def _yaml(stage: str, folder: Path) -> str:
    """A stage's configuration: that of the shapes, made tiny."""
    files = {"images": f"{folder}/images", "annotations": f"{folder}/truth.json"}
    train = {"name": "chain_train", **files, "tags": f"{folder}/tags.json"}
    custom = [train, {"name": "chain_val", **files}]
    content: dict = {"_BASE_": f"{ROOT}/configs/{stage}_shapes.yaml"}
    for key, value in {**COMMON, **OWN[stage], "DATASETS.CUSTOM": custom}.items():
        *path, leaf = key.split(".")
        node = content
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return json.dumps(content)  # which is yaml too


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with the data, the stages' configurations and the pipeline."""
    folder = tmp_path_factory.mktemp("pipeline")
    _draw(folder)
    for stage in OWN:
        (folder / f"{stage}.yaml").write_text(_yaml(stage, folder))
    (folder / "tiny.yaml").write_text(PIPELINE)
    return folder


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_pipeline", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, project, monkeypatch, capsys):
    """Run the tool in this process; returns its first words of each stage's line, and all lines."""

    def call(*arguments: str, config: str = "tiny.yaml") -> tuple[dict[str, str], str]:
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", ["run_pipeline.py", "--config", config, *arguments])
        run_tool(tool.main)
        printed = capsys.readouterr().out
        return _states(printed), printed

    return call


def _states(printed: str) -> dict[str, str]:
    """What is done with each stage; its first line counts, the table's comes later."""
    lines = [line.split() for line in printed.splitlines()]
    found: dict[str, str] = {}
    for words in lines:
        if words and words[0] in STAGES:
            found.setdefault(words[0], words[1])
    return found


def _manifest(project: Path, stage: str) -> dict:
    return json.loads((project / "out" / stage / "manifest.json").read_text())


def _snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def finished(project) -> str:
    """What the tool printed that went on after a SIGKILL in the middle of BESTIE's training."""
    command = [sys.executable, str(TOOL), "--config", "tiny.yaml"]
    killed = subprocess.Popen(
        command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 200
    while not (project / "out" / "bestie" / "last_checkpoint").exists():
        assert killed.poll() is None, "ended by itself"
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (project / "out" / "bestie" / "manifest.json").exists()
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_killed_training_goes_on_from_its_checkpoint(finished, project):
    expected = dict.fromkeys(STAGES, "run") | dict.fromkeys(STAGES[:4], "skip")
    assert _states(finished) == expected | {"bestie": "resume"}
    log = (project / "out" / "bestie" / "log.txt").read_text()
    starts = [line.split()[-1] for line in log.splitlines() if "Starting training from" in line]
    first, second = map(int, starts)
    assert first == 0
    assert 5 <= second < BESTIE_STEPS
    assert _manifest(project, "bestie")["resumed"]


def test_manifests_say_what_a_stage_was_made_from(finished, project):
    manifests = {stage: _manifest(project, stage) for stage in STAGES}
    reads = {stage: sorted(manifest["inputs"]) for stage, manifest in manifests.items()}
    assert reads == {
        "pam": [],
        "cues": ["pam"],
        "wsss": ["pam"],
        "maps": ["wsss"],
        "bestie": ["cues", "maps"],
        "export": ["bestie"],
        "mrcnn": ["export"],
        "evaluate": ["bestie", "mrcnn"],
    }
    for manifest in manifests.values():
        assert set(manifest["versions"]) == {"python", "torch", "detectron2", "bestie_d2"}
        assert set(manifest["seeds"].values()) == {1}
        assert manifest["seconds"] >= 0
    assert manifests["cues"]["inputs"]["pam"] == manifests["wsss"]["inputs"]["pam"]
    figures = manifests["evaluate"]["figures"]
    assert figures["bestie/segm/AP50"] == manifests["bestie"]["figures"]["segm/AP50"]
    assert "mrcnn/voc_instance/mAP50" in figures
    labels = json.loads((project / "out" / "export" / "pseudo_labels.json").read_text())
    assert len(labels["annotations"]) == manifests["export"]["figures"]["labels"] > 0


def test_a_second_run_skips_everything(finished, run, project):
    before = _snapshot(project)
    states, printed = run()
    assert states == dict.fromkeys(STAGES, "skip")
    assert "finished, and nothing changed" in printed
    assert "chain_val" in printed  # the table, with the figures of the runs before
    assert _snapshot(project) == before


def test_a_dry_run_says_what_would_be_done_and_touches_nothing(finished, run, project):
    before = _snapshot(project)
    states, printed = run("--dry-run", "bestie.SOLVER.BASE_LR", "0.002")
    after_bestie = dict.fromkeys(["export", "mrcnn", "evaluate"], "check")
    assert states == dict.fromkeys(STAGES[:4], "skip") | {"bestie": "redo"} | after_bestie
    assert "its configuration changed" in printed
    assert _snapshot(project) == before


def test_a_kill_at_the_end_of_any_stage_changes_no_result(finished, run, project):
    before = {stage: _manifest(project, stage) for stage in STAGES}
    lost = {"cues", "maps", "bestie", "export", "evaluate"}
    for stage in lost:  # finished, but killed before it was written down
        (project / "out" / stage / "manifest.json").unlink()
    states, _ = run()
    assert states == {stage: "resume" if stage in lost else "skip" for stage in STAGES}
    for stage in STAGES:
        after = _manifest(project, stage)
        assert after["figures"] == before[stage]["figures"]
        assert after["inputs"] == before[stage]["inputs"]  # what they made is the same to the byte


def test_a_lost_product_is_made_again(finished, run, project):
    before = _manifest(project, "bestie")["inputs"]["cues"]
    (project / "out" / "cues" / "cues.json").unlink()
    states, printed = run("--until", "bestie")
    assert states == dict.fromkeys(STAGES[:5], "skip") | {"cues": "redo"}
    assert "cues.json is gone" in printed
    assert _manifest(project, "bestie")["inputs"]["cues"] == before


def test_from_takes_earlier_stages_as_they_are(finished, run):
    states, _ = run("--from", "export", "--dry-run", "pam.SOLVER.BASE_LR", "0.002")
    assert states == dict.fromkeys(STAGES[:5], "keep") | dict.fromkeys(STAGES[5:], "skip")


def test_a_changed_configuration_redoes_the_stage_and_what_follows(finished, run, project):
    change = ("bestie.SOLVER.MAX_ITER", "40", "bestie.SOLVER.CHECKPOINT_PERIOD", "20")
    states, printed = run(*change)
    assert states == dict.fromkeys(STAGES, "redo") | dict.fromkeys(STAGES[:4], "skip")
    assert "what it reads of export changed" in printed
    folder = project / "out" / "bestie"
    assert (folder / "log.txt").read_text().count("Starting training from iteration 0") == 1
    left = {path.stem.removeprefix("model_") for path in folder.glob("*.pth")}
    assert left == {"0000019", "0000039", "final"}
    states, _ = run(*change)
    assert states == dict.fromkeys(STAGES, "skip")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--from", "cams"], "--from: 'cams' is no stage of tiny, which has pam, cues"),
        (["--from", "export", "--until", "pam"], "--from export comes after --until pam"),
        (["cams.SEED", "1"], "override cams.SEED: 'cams' is no stage"),
        (["pam.SOLVER.NO_SUCH", "1"], "stage pam: override on the command line: "),
    ],
)
def test_wrong_arguments_are_told_in_a_line(arguments, line, run, capsys):
    _fails_with(line, lambda: run("--dry-run", *arguments), capsys)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("config: mrcnn.yaml", "config: nothing.yaml", "mrcnn: config nothing.yaml: no such file"),
        ("output: out", "output: other", "other/pam holds files of something else"),
    ],
)
def test_a_wrong_file_is_told_in_a_line(old, new, line, run, project, capsys):
    (project / "other" / "pam").mkdir(parents=True, exist_ok=True)
    (project / "other" / "pam" / "mine.txt").touch()
    (project / "wrong.yaml").write_text(PIPELINE.replace(old, new))
    _fails_with(line, lambda: run(config="wrong.yaml"), capsys)
    assert [path.name for path in (project / "other" / "pam").iterdir()] == ["mine.txt"]


def _fails_with(line: str, call: Callable[[], object], capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        call()
    assert exit_info.value.code == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert line in told
