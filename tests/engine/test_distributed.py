"""Trainings of two processes on the processor, which meet over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from PIL import Image

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.distributed import AUTO, joined, launch
from bestie_d2.engine.trainer import Trainer
from bestie_d2.errors import InputError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "train_net.py"
STEPS, STOPPED = 4, 1  # iterations; the one in which SIGTERM, or a kill, comes
EQUAL = 2e-5  # of a tensor's largest value: float32, summed in another order
NOTHING = 1e-6  # gradients that are 0 but for that, as of a bias before a batch norm

# Imported by EXTRA_MODULES in each process of each run.
DISTURB = f"""
import os, signal, torch
from bestie_d2.engine.training_step import TrainingStep

def run_step(self, step=TrainingStep.run_step):
    for module in self.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # two processes draw other numbers than one
    fault = os.environ.get("FAULT")
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        fault = None
    if fault and self.iter == {STOPPED} and os.environ["RANK"] == "1":
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(2):  # SLURM tells each process, torchrun hands it on as well
            os.kill(os.getppid(), signal.SIGTERM)
    step(self)
    if self.iter == 0 and os.environ.get("RANK", "0") == "0":
        model = getattr(self.model, "module", self.model)
        gradients = {{name: p.grad for name, p in model.named_parameters() if p.grad is not None}}
        torch.save([gradients, dict(model.named_buffers())], os.environ["FOLDER"] + "_step.pth")

TrainingStep.run_step = run_step
"""

# Each argument is a run: FOLDER PROCESSES HOW FAULT and what the tool gets. Its processes get what
# torchrun would set ("env"), or are machines by Detectron2's flags ("flags"). All are forked from
# this one, which has imported everything. Their exit codes are printed.
RUNS = """
import os, runpy, socket, sys
import torch.multiprocessing as mp
import bestie_d2.engine.trainer

def forked(function, args, nprocs, join):
    return mp.start_processes(function, args, nprocs, join, start_method="fork")

def run(name, words):
    for stream, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{kind}", os.O_WRONLY | os.O_CREAT), stream)
    mp.spawn = forked
    sys.argv = [tool, *words]
    code = 0
    try:
        runpy.run_path(tool, run_name="__main__")
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # what was imported is not taken down in each

tool, *runs = sys.argv[1:]
for words in runs:
    folder, count, how, fault, *words = words.split()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    children = []
    for rank in map(str, range(int(count))):
        if (child := os.fork()) == 0:
            os.environ.update(FOLDER=folder, FAULT=fault.strip("-"))
            flags = []
            if how == "flags":
                flags = ["--num-machines", count, "--machine-rank", rank]
                flags += ["--dist-url", "tcp://127.0.0.1:" + port]
            if how == "env":
                os.environ.update(RANK=rank, LOCAL_RANK=rank, MASTER_PORT=port, WORLD_SIZE=count,
                                  LOCAL_WORLD_SIZE=count, MASTER_ADDR="127.0.0.1")
            run(f"{folder}_{fault}_{rank}", flags + words + ["OUTPUT_DIR", folder])
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(*codes, flush=True)
"""

ALL = "EXTRA_MODULES ('disturb',) SOLVER.IMS_PER_BATCH 4 DATALOADER.NUM_WORKERS 0"
NO_TEST = "DATASETS.TEST ()"
TINY = (
    f"--config-file tiny.yaml {ALL} SOLVER.MAX_ITER {STEPS} "
    "MODEL.BESTIE.REFINEMENT.START_ITER 0 MODEL.BESTIE.TEST.CENTER_THRESHOLD 0.01"
)
ONE_STEP = f"{ALL} {NO_TEST} SOLVER.MAX_ITER 1 MODEL.DEVICE cpu MODEL.WEIGHTS ''"
WSSS = f"--config-file {ROOT}/configs/wsss_shapes.yaml {ONE_STEP} MODEL.WSSS.MASK_LOSS_START 0"
PAM = f"--config-file {ROOT}/configs/pam_shapes.yaml {ONE_STEP}"
MASKS = f"--config-file masks.yaml {ALL} SOLVER.MAX_ITER {STEPS}"
GIVEN = {  # expected exit codes: a run
    "wsss_1": ("0", f"1 - - {WSSS}"),
    "wsss_2": ("0 0", f"2 env - {WSSS}"),
    "pam_1": ("0", f"1 - - {PAM}"),
    "pam_2": ("0 0", f"2 env - {PAM}"),
    "bestie_2": ("0 0", f"2 env - {TINY}"),
    "bestie_1": ("0", f"1 - - {TINY} {NO_TEST} SOLVER.MAX_ITER 1"),
    "evaluated": ("0", f"1 - - --eval-only {TINY} MODEL.WEIGHTS bestie_2/model_final.pth"),
    "stopped": ("143 143", f"2 flags sigterm {TINY} {NO_TEST}"),
    "masks_2": ("0 0", f"2 env - {MASKS}"),
    "masks_stopped": ("143 143", f"2 flags sigterm {MASKS}"),
    "lost": ("1 -9", f"2 env killed {TINY} {NO_TEST}"),
}


@pytest.fixture(scope="module")
def runs(project) -> Path:
    """The folder with all runs; in torchrun's a process is killed, and all are started again."""
    (project / "disturb.py").write_text(DISTURB)
    truth = json.loads((project / "annotations.json").read_text())
    del truth["images"][-1]  # five, which two processes cannot share evenly
    known = {image["id"] for image in truth["images"]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in known]
    (project / "annotations.json").write_text(json.dumps(truth))
    torchrun = "-m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 1"
    words = f"{TOOL} --resume {TINY} SOLVER.CHECKPOINT_PERIOD 1 OUTPUT_DIR restarted"
    ask(project, *torchrun.split(), *words.split(), FOLDER="restarted", FAULT="killed")
    given = [f"{name} {run}" for name, (_, run) in GIVEN.items()]
    resumed = {"stopped": f"{TINY} {NO_TEST}", "masks_stopped": MASKS}
    given += [f"{name} 2 flags - --resume {words}" for name, words in resumed.items()]
    make_masks(project)
    codes = ask(project, "-c", RUNS, str(TOOL), *given).splitlines()
    assert codes == [*(expected for expected, _ in GIVEN.values()), "0 0", "0 0"], "".join(
        path.read_text()[-500:] for path in project.glob("*.err")
    )
    return project


MASKS_YAML = """
_BASE_: "{root}/configs/mrcnn_shapes.yaml"
MODEL:
  DEVICE: "cpu"
  ROI_HEADS:
    NUM_CLASSES: 1
INPUT:
  MIN_SIZE_TRAIN: (64,)
DATASETS:
  CUSTOM:
    - name: "some_wide"
      images: "{folder}/some_wide"
      annotations: "{folder}/some_wide.json"
  TRAIN: ("some_wide",)
  TEST: ()
DATALOADER:
  ASPECT_RATIO_GROUPING: True
"""


def make_masks(folder: Path) -> None:
    """A data set for Mask R-CNN, the boxes of the objects, of which every other image is wide."""
    (folder / "some_wide").mkdir()
    truth = json.loads((folder / "annotations.json").read_text())
    for number, image in enumerate(truth["images"]):
        with Image.open(folder / "images" / image["file_name"]) as stored:
            image["width"] = stored.width + number % 2
            box = (0, 0, image["width"], stored.height)
            stored.crop(box).save(folder / "some_wide" / image["file_name"])
    for item in truth["annotations"]:
        x, y, width, height = item["bbox"]
        right, bottom = x + width, y + height
        item["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
    (folder / "some_wide.json").write_text(json.dumps(truth))
    (folder / "masks.yaml").write_text(MASKS_YAML.format(root=ROOT, folder=folder))


def ask(folder: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


@pytest.mark.parametrize("model", ["bestie", "wsss", "pam"])
def test_a_step_of_two_processes_is_that_of_one_with_their_batches(model, runs):
    """Losses, gradients, and statistics of batch norms, which are buffers."""
    one, two = (torch.load(runs / f"{model}_{n}_step.pth", weights_only=True) for n in (1, 2))
    for ours, theirs in zip(one, two, strict=True):
        assert ours
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            allowed = EQUAL * value.abs().max() + NOTHING
            assert (theirs[name] - value).abs().max() <= allowed, name
    if model != "bestie":  # of that two processes made more steps
        alone, together = (metrics(runs / f"{model}_{n}")[0] for n in (1, 2))
        losses = [key for key in alone if "loss" in key]
        assert losses
        for key in losses:
            assert together[key] == pytest.approx(alone[key], rel=1e-5)


@pytest.mark.parametrize(("name", "starts"), [("bestie_2", [0]), ("restarted", [0, STOPPED])])
def test_two_processes_train_and_evaluate_with_one_writer(name, starts, runs):
    *steps, figures = metrics(runs / name)  # each once
    ends = [start - 1 for start in starts[1:]] + [STEPS - 1]
    assert [step["iteration"] for step in steps] == ends
    assert {"segm/AP", "voc_instance/mAP50", "failures/score"} <= set(figures)
    assert len(list((runs / name).glob("events.out.tfevents.*"))) == len(starts)
    assert (runs / name / "log.txt").exists()


def test_torchrun_starts_all_anew_where_one_was_killed_and_nothing_is_lost(runs):
    log = (runs / "restarted" / "log.txt").read_text()
    assert f"Starting training from iteration {STOPPED}\n" in log
    assert_same_weights(runs, "restarted", "bestie_2")


def test_two_processes_find_what_one_finds(runs):
    """Of five images: the first process has three."""
    found = []
    for name in ("bestie_2", "evaluated"):
        (file,) = (runs / name).rglob("coco_instances_results.json")
        found.append(sorted(json.loads(file.read_text()), key=json.dumps))
    assert found[0] == found[1]
    assert {item["image_id"] for item in found[0]} == {0, 1, 2, 3, 4}
    of_two, of_one = (
        {key: value for key, value in metrics(runs / name)[-1].items() if key != "iteration"}
        for name in ("bestie_2", "evaluated")
    )
    assert of_one.keys() == of_two.keys()
    for key, value in of_one.items():  # of what there is none of: NaN in training, else null
        assert of_two[key] == value or (value is None and of_two[key] != of_two[key])


def test_sigterm_to_one_machine_ends_both_at_one_step_and_nothing_is_lost(runs):
    assert [path.name for path in sorted((runs / "stopped").glob("model_*.pth"))] == [
        f"model_{STOPPED:07d}.pth", "model_final.pth",
    ]  # fmt: skip
    for rank in (0, 1):
        told = (runs / f"stopped_sigterm_{rank}.err").read_text()
        assert told == "terminated; what was written so far is kept\n"
    assert_resumed_to_the_weights_of(runs, "stopped", "bestie_2")


def assert_resumed_to_the_weights_of(runs: Path, stopped: str, undisturbed: str) -> None:
    resumed = (runs / f"{stopped}_-_0.out").read_text()
    assert f"Starting training from iteration {STOPPED + 1}" in resumed
    assert_same_weights(runs, stopped, undisturbed)


def assert_same_weights(runs: Path, stopped: str, undisturbed: str) -> None:
    hard, easy = (
        torch.load(runs / name / "model_final.pth", weights_only=True)["model"]
        for name in (stopped, undisturbed)
    )
    assert all(torch.equal(hard[key], easy[key]) for key in easy)


def test_mask_rcnn_goes_on_with_the_batches_of_one_shape(runs):
    steps = metrics(runs / "masks_2")
    assert "loss_mask" in steps[-1]
    assert_resumed_to_the_weights_of(runs, "masks_stopped", "masks_2")


def test_where_a_process_was_killed_the_other_says_so_in_a_line(runs):
    assert (runs / "lost_killed_0.err").read_text() == (
        "error: another of the processes that work together has ended: its own line says why, or "
        "the system that ended it; go on with --resume\n"
    )
    assert "Traceback" not in (runs / "lost_killed_0.out").read_text()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"num_gpus": 0}, "--num-gpus 0 --num-machines 1 --machine-rank 0: expected 1 or more of"),
        ({"machine_rank": 1}, "--machine-rank 1: expected"),
        ({"num_machines": 2}, "--dist-url auto: expected tcp://HOST:PORT, a free port of the"),
        ({"num_machines": 2, "dist_url": "tcp://host:port"}, "--dist-url tcp://host:port: expec"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, line):
    given = {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": AUTO} | flags
    with pytest.raises(InputError, match=line):
        launch(print, Namespace(**given))


def test_what_torchrun_starts_starts_nothing(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "MASTER_ADDR": "h", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match=r"started from outside .*leave them out"):
        launch(print, Namespace(num_gpus=4, num_machines=1))


def test_restarts_over_machines_that_could_miss_each_other_are_refused(monkeypatch):
    of_torchrun = {
        "RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "h", "MASTER_PORT": 1, "GROUP_WORLD_SIZE": 2,
        "TORCHELASTIC_MAX_RESTARTS": 3, "TORCHELASTIC_USE_AGENT_STORE": True,
    }  # fmt: skip
    for name, value in of_torchrun.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match="set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"), joined("cpu"):
        pass
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")  # of --master-addr no difference

    def met(*_: object, **__: object) -> None:
        raise ValueError("as far as this")

    monkeypatch.setattr("bestie_d2.engine.distributed.rendezvous", met)
    with pytest.raises(InputError, match="as far as this"), joined("cpu"):
        pass


def test_a_batch_that_the_processes_cannot_share_is_refused(project, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    cfg = load_config(str(project / "tiny.yaml"), ["SOLVER.IMS_PER_BATCH", "4"])
    with pytest.raises(InputError, match="IMS_PER_BATCH is 4, the batch of all 3 processes"):
        Trainer.build_train_loader(cfg)


@pytest.mark.parametrize("processes", [2, 4, 5])
def test_the_processes_see_each_test_image_once(project, processes, monkeypatch):
    cfg = load_config(str(project / "tiny.yaml"))
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    seen = []
    for rank in range(processes):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        loader = Trainer.build_test_loader(cfg, "tiny_val")
        seen += [item["image_id"] for batch in loader for item in batch]
    truth = json.loads((project / "annotations.json").read_text())
    assert sorted(seen) == [image["id"] for image in truth["images"]]
