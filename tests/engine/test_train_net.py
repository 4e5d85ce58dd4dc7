"""The main command, run as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer
from bestie_d2.errors import InputError
from bestie_d2.storage.processes import only_run_in

TOOL = Path(__file__).resolve().parents[2] / "tools" / "train_net.py"
FINAL = "model_final.pth"


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(project, request) -> Path:
    """The output of a finished training, with evaluation at its end."""
    done = subprocess.run(
        [sys.executable, str(TOOL), "--config-file", "tiny.yaml"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "eta" in done.stdout
    assert done.stderr == ""  # nothing to bury the output
    return project / "output"


def test_training_leaves_a_model_and_both_protocols_figures(trained):
    names = json.loads((trained / "classes.json").read_text())["classes"]
    assert torch.load(trained / FINAL, weights_only=True)["classes"] == names
    last_step, final = metrics(trained)[-2:]
    assert (last_step["iteration"], final["iteration"]) == (39, 40)
    assert {"segm/AP", "segm/AP50", "segm/AP75"} <= set(final)
    assert {"voc_instance/mAP25", "voc_instance/mAP50", "voc_instance/mAP70"} <= set(final)
    assert {"loss_sem_seg", "loss_center_pseudo", "loss_offset_refined", "lr"} <= set(last_step)
    assert list(trained.glob("events.out.tfevents.*"))


def test_eval_only_equals_pycocotools_by_hand(trained, project, run_tool):
    folder = str(project / "evaluated")
    done = run_tool(
        "train_net.py", "--config-file", "tiny.yaml", "--eval-only",
        "MODEL.WEIGHTS", str(trained / FINAL), "OUTPUT_DIR", folder,
        "MODEL.BESTIE.TEST.CENTER_THRESHOLD", "0.01", "TEST.MAX_DETECTIONS_PER_IMAGE", "7",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (figures,) = metrics(Path(folder))
    (written,) = Path(folder).rglob("coco_instances_results.json")
    truth = COCO(str(project / "annotations.json"))
    predictions = json.loads(written.read_text())
    assert predictions, "the model predicts nothing: the comparison would be empty"
    by_hand = COCOeval(truth, truth.loadRes(predictions), "segm")
    by_hand.params.maxDets = [1, 10, 7]
    by_hand.evaluate()
    by_hand.accumulate()
    precision = by_hand.eval["precision"][:, :, :, 0, 2]
    assert figures["segm/AP"] == pytest.approx(100 * precision[precision > -1].mean())
    assert figures["segm/AP50"] == pytest.approx(100 * precision[0][precision[0] > -1].mean())
    assert figures["voc_instance/mAP50"] >= 0


def test_eval_only_takes_the_last_checkpoint_of_the_output_folder(trained, run_tool):
    before = len(metrics(trained))
    done = run_tool("train_net.py", "--config-file", "tiny.yaml", "--eval-only")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = metrics(trained)
    assert len(lines) == before + 1
    assert lines[-1]["iteration"] == 39  # the last one that was trained
    assert lines[-1]["segm/AP"] == pytest.approx(lines[before - 1]["segm/AP"])


def test_a_second_training_in_the_folder_is_refused(trained, run_tool):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    done = run_tool("train_net.py", "--config-file", "tiny.yaml", "SOLVER.MAX_ITER", "3")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: OUTPUT_DIR {trained}: holds a training (model_final.pth). --resume goes on with "
        "it; to start anew, choose another OUTPUT_DIR or move that folder away\n"
    )
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
    cfg = load_config(str(trained.parent / "tiny.yaml"), ["OUTPUT_DIR", str(trained)])
    with pytest.raises(InputError, match="holds a training"):  # from a script of one's own
        Trainer(cfg).resume_or_load(resume=False)


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        ("--resume", "wait until it ends, or choose another output"),
        ("--eval-only", "give that as MODEL.WEIGHTS, and another OUTPUT_DIR"),
    ],
)
def test_a_folder_that_another_run_works_in_is_left_alone(mode, advice, trained, run_tool):
    before = sorted(path for path in trained.rglob("*") if path.is_file())
    with only_run_in(trained, "OUTPUT_DIR"):
        done = run_tool("train_net.py", "--config-file", "tiny.yaml", mode)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: OUTPUT_DIR {trained}: another run is working there (process {os.getpid()}, since "
    )
    assert done.stderr.endswith(f"{advice}\n")
    assert done.stderr.count("\n") == 1
    assert sorted(path for path in trained.rglob("*") if path.is_file()) == before


def test_weights_of_another_model_are_not_evaluated(trained, run_tool):
    weights = str(trained / FINAL)
    done = run_tool(
        "train_net.py", "--config-file", "tiny.yaml", "--eval-only", "OUTPUT_DIR", "other",
        "MODEL.WEIGHTS", weights, "MODEL.BESTIE.HEAD_CHANNELS", "32",
    )  # fmt: skip
    assert done.returncode == 2
    assert "tensors of the model without weights (head." in done.stderr


def test_a_broken_image_at_evaluation_is_named(trained, project, run_tool):
    image = project / "images" / "2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:200])
    try:
        done = run_tool("train_net.py", "--config-file", "tiny.yaml", "--eval-only")
    finally:
        image.write_bytes(whole)
    assert done.returncode == 2
    assert "2.png: not a readable image" in done.stderr
    assert done.stderr.count("\n") == 1


def test_resume_continues_where_training_stopped(trained, project, run_tool):
    folder = project / "resumed"
    folder.mkdir()
    shutil.copy(trained / "model_0000019.pth", folder)
    (folder / "last_checkpoint").write_text("model_0000019.pth")
    done = run_tool(
        "train_net.py", "--config-file", "tiny.yaml", "--resume", "OUTPUT_DIR", str(folder)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Starting training from iteration 20" in done.stdout
    for key in ("total_loss", "segm/AP50", "voc_instance/mAP50"):  # to the last digit
        values = [[line[key] for line in metrics(at) if key in line] for at in (folder, trained)]
        assert values[0][-1] == values[1][1 if key == "total_loss" else 0]
    weights = [torch.load(at / FINAL, weights_only=False)["model"] for at in (folder, trained)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_a_training_is_gone_on_with_from_where_it_is(trained, project, monkeypatch):
    """Its images are listed once; with no iteration left it only ends; it does not go back."""
    folder, begun = project / "ended", []
    folder.mkdir()
    shutil.copy(trained / "model_0000019.pth", folder)
    build = Trainer.build_train_loader

    def noting(cfg, start, records):
        begun.append(start)
        return build(cfg, start, records)

    monkeypatch.setattr(Trainer, "build_train_loader", staticmethod(noting))

    def resume(iterations: int) -> None:
        keys = ["SOLVER.MAX_ITER", str(iterations), "OUTPUT_DIR", str(folder)]
        cfg = load_config(str(project / "tiny.yaml"), [*keys, "DATASETS.TEST", "()"])
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=True)
        trainer.train()

    with pytest.raises(InputError) as told:
        resume(19)
    assert str(told.value) == (
        f"SOLVER.MAX_ITER is 19, but the training in OUTPUT_DIR {folder} is at iteration 20 "
        "already: set it to that or more, or choose another OUTPUT_DIR"
    )
    for iterations in (20, 20, 21):
        resume(iterations)
    assert begun == [20, 20, 20]
    assert torch.load(folder / FINAL, weights_only=True)["iteration"] == 20


class Records(list):
    """A list that can be referred to weakly."""


def test_records_are_let_go_of_when_training_begins(project, monkeypatch):
    """The loader has them serialized; workers would each copy a list of dicts."""
    read, held, found = Trainer.training_records, [], []

    def noting(cfg):
        records = Records(read(cfg))
        held.append(weakref.ref(records))
        return records

    class Look(HookBase):
        def before_step(self) -> None:
            found.append([reference() for reference in held])

    monkeypatch.setattr(Trainer, "training_records", staticmethod(noting))
    keys = ["SOLVER.MAX_ITER", "1", "OUTPUT_DIR", str(project / "let_go"), "DATASETS.TEST", "()"]
    trainer = Trainer(load_config(str(project / "tiny.yaml"), keys))
    trainer.register_hooks([Look()])
    trainer.train()
    assert found == [[None]]


@pytest.mark.parametrize("note", [b"", b"\xff", b"model_00"])
def test_a_torn_note_of_the_last_checkpoint_is_told_where_it_is_evaluated(
    note, trained, project, run_tool
):
    folder = project / f"note_{len(note)}"
    folder.mkdir()
    shutil.copy(trained / FINAL, folder)
    (folder / "last_checkpoint").write_bytes(note)
    options = ["--config-file", "tiny.yaml", "--eval-only", "OUTPUT_DIR", str(folder)]
    done = run_tool("train_net.py", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {folder}/last_checkpoint: names ")
    assert "is no checkpoint there; put the name of one into it, or name weights" in done.stderr


def break_map(project: Path) -> list[str]:
    folder = project / "broken_maps"
    shutil.copytree(project / "maps", folder, dirs_exist_ok=True)
    (folder / "3.png").unlink()
    return ["DATASETS.WEAK_MAPS", str(folder)]


def unreadable_map(project: Path) -> list[str]:
    """A map that looks whole from its header, and is found out by a worker while training."""
    folder = project / "cut_maps"
    shutil.copytree(project / "maps", folder, dirs_exist_ok=True)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:60])
    return ["DATASETS.WEAK_MAPS", str(folder), "DATALOADER.NUM_WORKERS", "1"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            lambda p: ["MODEL.BESTIE.NUM_CLASSES", "3"],
            "MODEL.BESTIE.NUM_CLASSES is 3, but the data set",
        ),
        # Data is looked at before weights are.
        (lambda p: [*break_map(p), "MODEL.WEIGHTS", "absent.pth"], "3.png: no such file"),
        (unreadable_map, "not a readable PNG"),
        (lambda p: ["MODEL.WEIGHTS", "absent.pth"], "checkpoint absent.pth: no such file"),
        (lambda p: ["MODEL.NO_SUCH_KEY", "1"], "MODEL.NO_SUCH_KEY"),
        (lambda p: ["MODEL.WEIGHTS"], "KEY VALUE"),
        (lambda p: ["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (lambda p: ["--eval-only"], "no weights"),
        (lambda p: ["DATASETS.TEST", "('nowhere',)"], "'nowhere' is not registered"),
        (lambda p: ["OUTPUT_DIR", str(p / "tiny.yaml" / "in")], "cannot be made a folder"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(project, run_tool, arguments, line):
    done = run_tool("train_net.py", "--config-file", "tiny.yaml", *_flags_first(arguments(project)))
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert line in done.stderr
    assert "Traceback" not in done.stdout


def _flags_first(arguments: list[str]) -> list[str]:
    flags = [a for a in arguments if a.startswith("--")]
    options = [a for a in arguments if not a.startswith("--")]
    odd = len(options) % 2
    return flags + ([] if odd else ["OUTPUT_DIR", "bad_input"]) + options


def test_a_missing_config_file_is_named(run_tool):
    done = run_tool("train_net.py", "--config-file", "nowhere.yaml")
    assert done.returncode == 2
    assert done.stderr == "error: --config-file nowhere.yaml: no such file\n"


def test_ctrl_c_saves_the_step_and_resume_goes_on(project, run_tool):
    folder = project / "interrupted"
    arguments = ["--config-file", "tiny.yaml", "OUTPUT_DIR", str(folder)]
    endless = ["SOLVER.MAX_ITER", "100000", "SOLVER.CHECKPOINT_PERIOD", "100000",
               "DATALOADER.NUM_WORKERS", "1"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(TOOL), *arguments, *endless],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        for line in running.stdout:
            if "iter: 19" in line:
                break
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the workers too
        stdout, stderr = running.communicate(timeout=120)
    assert running.returncode == 130, stderr[-2000:]
    assert stderr == "interrupted; what was written so far is kept\n"
    assert "interrupted: saving after this step" in stdout
    assert "go on with --resume" in stdout
    saved = int((folder / "last_checkpoint").read_text().removeprefix("model_").split(".")[0])
    assert saved >= 19
    resumed = run_tool("train_net.py", "--resume", *arguments, "SOLVER.MAX_ITER", str(saved + 3))
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert f"Starting training from iteration {saved + 1}" in resumed.stdout
