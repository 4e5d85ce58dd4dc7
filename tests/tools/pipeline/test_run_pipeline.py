"""tools/run_pipeline.py: the chain from tags on a tiny data set, killed, gone on with, redone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from tiny_pipeline import KILLED, PIPELINE, STAGES, TOOL, states_of

from bestie_d2.data.labels.attach import MADE_WITH

pytestmark = pytest.mark.slow


def _manifest(project: Path, stage: str) -> dict:
    return json.loads((project / "out" / stage / "manifest.json").read_text())


def _snapshot(folder: Path) -> dict[str, int]:
    """When each file was last written, but for the report, which a run writes anew."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files if path.name != "report.html"}


def _kill_in(stage: str, command: list[str], project: Path) -> None:
    """Run until the stage has saved its first checkpoint, then SIGKILL."""
    with open(project / "complaints.txt", "w") as complaints:
        killed = subprocess.Popen(
            command, cwd=project, stdout=subprocess.DEVNULL, stderr=complaints
        )
    end = time.monotonic() + 200
    while not (project / "out" / stage / "last_checkpoint").exists():
        assert killed.poll() is None, (project / "complaints.txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (project / "out" / stage / "manifest.json").exists()


@pytest.fixture(scope="module")
def finished(project) -> str:
    """What the tool printed that went on after a SIGKILL in the middle of each training."""
    command = [sys.executable, str(TOOL), "--config", "tiny.yaml"]
    for stage in KILLED:
        _kill_in(stage, command, project)
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_killed_training_goes_on_from_its_checkpoint(finished, project):
    before = STAGES[: STAGES.index(KILLED[-1])]
    expected = dict.fromkeys(STAGES, "run") | dict.fromkeys(before, "skip")
    assert states_of(finished) == expected | {KILLED[-1]: "resume"}
    for stage in KILLED:
        log = (project / "out" / stage / "log.txt").read_text()
        starts = [line.split()[-1] for line in log.splitlines() if "Starting training from" in line]
        first, second = map(int, starts)
        assert first == 0
        assert second > 0
        assert _manifest(project, stage)["resumed"]


def test_kills_change_no_figure_and_no_weight(finished, project):
    (project / "clean.yaml").write_text(PIPELINE.replace("output: out", "output: clean"))
    command = [sys.executable, str(TOOL), "--config", "clean.yaml"]
    subprocess.run(command, cwd=project, capture_output=True, timeout=280, check=True)
    for stage in STAGES:
        clean = json.loads((project / "clean" / stage / "manifest.json").read_text())
        assert clean["figures"] == _manifest(project, stage)["figures"]
        weights = [project / folder / stage / "model_final.pth" for folder in ("out", "clean")]
        if weights[0].exists():
            ours, others = (torch.load(path, weights_only=False)["model"] for path in weights)
            assert all(torch.equal(ours[name], others[name]) for name in ours)
    for product in ("cues/cues.json", "maps/weak_maps/1.png", "export/pseudo_labels.json"):
        files = [(project / folder / product).read_bytes() for folder in ("out", "clean")]
        assert files[0] == files[1]


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
        "mrcnn_truth": [],
        "evaluate": ["bestie", "mrcnn", "mrcnn_truth"],
    }
    for manifest in manifests.values():
        assert set(manifest["versions"]) >= {"python", "torch", "detectron2", "bestie_d2"}
        assert set(manifest["seeds"].values()) == {1}
        assert manifest["seconds"] >= 0
    assert manifests["cues"]["inputs"]["pam"] == manifests["wsss"]["inputs"]["pam"]
    assert manifests["bestie"]["config"]["SOLVER.MAX_ITER"] == 60
    assert set(manifests["bestie"]["data"]) == {
        "training set's list",
        "training set's image files",
        "instance labels",
        "initial weights",
    }
    assert manifests["evaluate"]["config"]["mrcnn.SOLVER.MAX_ITER"] == 8
    assert manifests["export"]["config"]["score_threshold"] == 0.0
    figures = manifests["evaluate"]["figures"]
    assert figures["bestie/segm/AP50"] == manifests["bestie"]["figures"]["segm/AP50"]
    assert {"mrcnn/voc_instance/mAP50", "mrcnn_truth/voc_instance/mAP50"} <= set(figures)
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
    of_bestie = dict.fromkeys(["export", "mrcnn", "evaluate"], "check") | {"bestie": "changed"}
    assert states == dict.fromkeys(STAGES, "skip") | of_bestie
    assert "SOLVER.BASE_LR was 0.001, is 0.002" in printed
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


def test_maps_that_were_interrupted_before_the_data_was_moved(finished, run, project):
    folder = project / "out" / "maps"
    (folder / "manifest.json").unlink()
    (folder / "weak_maps").rename(folder / "weak_maps.parts")
    settings = folder / "weak_maps.parts" / MADE_WITH
    elsewhere = {**json.loads(settings.read_text()), "images and tags": "with other paths"}
    settings.write_text(json.dumps(elsewhere))
    states, _ = run("--until", "bestie")  # the maps are the same again
    assert states == dict.fromkeys(STAGES[:5], "skip") | {"maps": "resume"}


def test_a_lost_product_is_made_again(finished, run, project):
    before = _manifest(project, "bestie")["inputs"]["cues"]
    (project / "out" / "cues" / "cues.json").unlink()
    states, printed = run("--until", "bestie", "--dry-run")
    assert states == dict.fromkeys(STAGES[:4], "skip") | {"cues": "changed", "bestie": "check"}
    assert "cues.json is gone" in printed
    states, _ = run("--until", "bestie", "--redo", "cues")
    assert states == dict.fromkeys(STAGES[:5], "skip") | {"cues": "redo"}
    assert _manifest(project, "bestie")["inputs"]["cues"] == before


def test_other_data_is_learned_from_anew(finished, run, project):
    image = project / "images" / "1.png"
    before = image.read_bytes()
    image.write_bytes(before + b"more")
    states, printed = run("--dry-run")
    image.write_bytes(before)
    assert states["pam"] == "changed"
    assert "training set's image files was 6 files, " in printed
    states, _ = run("--dry-run")
    assert states == dict.fromkeys(STAGES, "skip")


def test_from_takes_earlier_stages_as_they_are(finished, run):
    states, _ = run("--from", "export", "--dry-run", "pam.SOLVER.BASE_LR", "0.002")
    assert states == dict.fromkeys(STAGES[:5], "keep") | dict.fromkeys(STAGES[5:], "skip")


def test_a_later_stage_may_be_wrong_still(finished, run, project):
    states, printed = run("--until", "pam", "mrcnn.SOLVER.NO_SUCH", "1")
    assert states == {"pam": "skip"}
    assert printed.splitlines()[-1] == "report: out/report.html"
    html = (project / "out" / "report.html").read_text(encoding="utf-8")
    assert "mrcnn cannot be run as it is configured: stage mrcnn: override on the" in html


def test_a_round_learns_from_what_the_one_before_exported(finished, run, project):
    states, _ = run("--rounds", "1", "--dry-run")
    new = dict.fromkeys(["bestie_round1", "export_round1"], "run")
    after = {"mrcnn": "changed", "evaluate": "changed"}  # they read other stages then
    assert states == dict.fromkeys(STAGES, "skip") | new | after
    run("--rounds", "1", "--until", "export_round1", "bestie_round1.SOLVER.MAX_ITER", "10")
    assert sorted(_manifest(project, "bestie_round1")["inputs"]) == ["cues", "export", "maps"]
    assert sorted(_manifest(project, "export_round1")["inputs"]) == ["bestie_round1"]
    config = (project / "out" / "bestie_round1" / "config.yaml").read_text()
    assert "INSTANCE_LABELS: out/export/pseudo_labels.json" in config
    assert "MAX_ITER: 10" in config
    states, _ = run()  # without rounds again
    assert states == dict.fromkeys(STAGES, "skip")


def test_what_the_networks_that_learn_from_tags_give_for_nothing(finished, run, project):
    (project / "free.yaml").write_text(PIPELINE.replace("  bestie", "  components: {}\n  bestie"))
    states, _ = run("--until", "components", config="free.yaml")
    assert states == dict.fromkeys(STAGES[:4], "skip") | {"components": "run"}
    manifest = _manifest(project, "components")
    assert sorted(manifest["inputs"]) == ["cues", "maps", "pam", "wsss"]
    figures = manifest["figures"]
    assert {f"{owner}/segm/AP75" for owner in ("pam", "wsss")} <= set(figures)
    folder = project / "out" / "components" / "pam"
    measured = json.loads((folder / "metrics.json").read_text())
    assert figures["pam/voc_instance/mAP50"] == measured["voc_instance/mAP50"]
    assert len(list((folder / "weak_maps").glob("*.png"))) == 6
    assert [figures[f"components with {held}"] for held in ("none", "one", "several")] == (
        pytest.approx(_shares_of_components(project))
    )
    states, _ = run("--until", "components", "--dry-run", config="free.yaml")
    assert states["components"] == "skip"
    # killed after its maps were made
    made = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("weak_maps/*.png")}
    (folder.parent / "manifest.json").unlink()
    states, _ = run("--until", "components", config="free.yaml")
    assert states["components"] == "resume"
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert _manifest(project, "components")["figures"] == figures


def _shares_of_components(project: Path) -> list[float]:
    """Percent of the maps' components of 50 pixels or more with no, one and several cues."""
    content = json.loads((project / "out" / "cues" / "cues.json").read_text())
    held = Counter()
    for image in content["images"]:
        weak_map = np.array(Image.open(project / "out" / "maps" / "weak_maps" / image["file_name"]))
        sure = [p for p in content["points"] if p["image_id"] == image["id"] and p["score"] > 0.7]
        for category in (1, 2):
            numbers, count = ndimage.label(weak_map == category, np.ones((3, 3)))
            ours = [p["point"] for p in sure if p["category_id"] == category]
            for number in range(1, count + 1):
                if (numbers == number).sum() >= 50:
                    on = sum(numbers[int(y + 0.5), int(x + 0.5)] == number for x, y in ours)
                    held[min(on, 2)] += 1
    return [100 * held[count] / max(sum(held.values()), 1) for count in range(3)]


def test_thresholded_activations_as_weak_maps(finished, run, project):
    (project / "cams.yaml").write_text(PIPELINE.replace("  maps: {}", "  cam_maps: {}"))
    states, _ = run("--until", "cam_maps", config="cams.yaml")
    assert states == dict.fromkeys(STAGES[:3], "skip") | {"cam_maps": "run"}
    assert 0 < _manifest(project, "cam_maps")["figures"]["mIoU"] <= 100
    tags = {1: {2}, 2: {1, 2}, 3: {1}}  # by image
    for image_id, classes in tags.items():
        path = project / "out" / "cam_maps" / "weak_maps" / f"{image_id}.png"
        assert set(np.unique(np.array(Image.open(path)))) == {0, *classes}
    states, printed = run("--until", "bestie", "--dry-run", config="cams.yaml")
    assert states["bestie"] == "changed"
    assert "product of cam_maps was not read" in printed


def test_a_changed_configuration_redoes_the_stage_and_what_follows(finished, run, project):
    change = ("bestie.SOLVER.MAX_ITER", "40", "bestie.SOLVER.CHECKPOINT_PERIOD", "20")
    folder = project / "out" / "bestie"
    before = _snapshot(folder)
    states, printed = run("--redo", "bestie", *change)
    untouched = dict.fromkeys([*STAGES[:4], "mrcnn_truth"], "skip")
    assert states == dict.fromkeys(STAGES, "redo") | untouched
    assert "product of export was " in printed
    assert list(_snapshot(project / "out" / "bestie.1").values()) == list(before.values())
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
