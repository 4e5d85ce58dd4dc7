"""A project begun: the files written, the commands printed, run unchanged; sizes and lengths."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bestie_d2.__main__ import main
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.labeling.thresholds import ForegroundRecipe
from bestie_d2.model_keys import value_of
from bestie_d2.pipeline.definition import read_pipeline
from bestie_d2.project import machine_speed, object_sizes, project_start
from bestie_d2.project.labeled_set import LabeledSet
from bestie_d2.project.object_sizes import ObjectSizes, Trial
from bestie_d2.project.project_plan import Request
from bestie_d2.project.project_settings import CPU, GPU, as_yaml, length_settings, scaled_schedule
from bestie_d2.project.project_start import start_project
from bestie_d2.shipped import shipped
from bestie_d2.structures import PointCues

CONFIGS = shipped("configs")
PHOTOGRAPHS = ObjectSizes((333, 449), 150, 75, 500, 41, 0)  # as VOC's at the recipe's size


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Run a printed command in this process; what it printed."""

    def run(line: str) -> str:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "bestie_d2"]
        monkeypatch.setattr(sys, "argv", ["bestie", *words[3:]])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def request_of(project: Path, name: str, labels: str = "points.json", **others) -> Request:
    return Request(str(project / "images"), str(project / labels), project / name, **others)


def commands(lines: list[str], tool: str) -> list[str]:
    return [line for line in lines if line.split()[:4] == ["python", "-m", "bestie_d2", tool]]


def test_points_of_one_class_get_a_threshold_and_a_training_that_can_start(
    project, run_command, no_gpu
):
    lines = start_project(request_of(project, "begun", truth=str(project / "annotations.json")))
    assert "WARNING" not in "\n".join(lines)
    assert "&id" not in (project / "begun" / "bestie.yaml").read_text()  # to be read by people
    cfg = load_config(str(project / "begun" / "bestie.yaml"))
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("begun_train",), ("begun_val",))
    names = {}
    for key, file in (("train", "labels_train.json"), ("val", "truth_val.json")):
        content = json.loads((project / "begun" / file).read_text())
        names[key] = {image["file_name"] for image in content["images"]}
    assert (len(names["train"]), len(names["val"])) == (5, 1)
    assert not names["train"] & names["val"]
    told = run_command(commands(lines, "make-weak-maps")[0])
    assert "6 maps written" in told
    assert "components with no / exactly one / several points: 0.0 % / 100.0 % / 0.0 %" in told
    assert (project / "begun" / "weak_maps-preview.png").is_file()
    told = run_command(commands(lines, "check-data")[0])
    assert "training set begun_train: 5 images" in told
    assert "a training could start" in told
    assert len(commands(lines, "train")) == 2  # the second one evaluates


def test_outlines_as_labels_give_points_and_the_truth(project, no_gpu):
    lines = start_project(request_of(project, "outlined", "annotations.json", val_share=0.5))
    assert "measured on 3 pictures with truth" in "\n".join(lines)
    content = json.loads((project / "outlined" / "labels_train.json").read_text())
    assert (len(content["images"]), len(content["points"])) == (3, 6)


def test_nothing_is_overwritten(project, no_gpu):
    (project / "taken").mkdir()
    (project / "taken" / "pam.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"taken: has a pam\.yaml; name another folder"):
        start_project(request_of(project, "taken"))
    assert [path.name for path in (project / "taken").iterdir()] == ["pam.yaml"]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("images", "lies in --images .*, where the maps that are made would be pictures"),
        ("images/new/deep", "; name a folder outside of it$"),
        ("points.json", r"points\.json is a file; name a folder$"),
        ("points.json/deep", r"points\.json is a file; name a folder$"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_anything_is_read(project, output, line):
    with pytest.raises(InputError, match=rf"^--output .*{output}: .*{line}"):
        start_project(request_of(project, output, "no such file"))


def test_hours_are_filled_with_iterations_that_were_timed(project, monkeypatch, no_gpu):
    timed = []

    def measure(*arguments) -> float:
        timed.append(seconds_per_iteration(*arguments))
        return timed[0]

    seconds_per_iteration = project_start.seconds_per_iteration
    monkeypatch.setattr(project_start, "seconds_per_iteration", measure)
    monkeypatch.setattr(machine_speed, "TIMED", 1)
    lines = start_project(request_of(project, "timed", hours=2.0))
    assert timed[0] > 0
    solver = load_config(str(project / "timed" / "bestie.yaml")).SOLVER
    assert abs(solver.MAX_ITER - 0.9 * 2 * 3600 / timed[0]) <= 1
    assert abs(solver.CHECKPOINT_PERIOD - solver.MAX_ITER / 6) <= 1
    assert any(f"bestie: {solver.MAX_ITER} iterations" in line for line in lines)
    assert "nothing is measured: points say nothing of outlines" in "\n".join(lines)
    short = "so short trainings may learn nothing: give 10% of it at least"
    assert short not in lines
    assert short in start_project(request_of(project, "short", hours=0.001))


@pytest.fixture
def tagged(project) -> Path:
    rows = [f"{index}.png,{('cat', 'dog', 'cat;dog')[index % 3]}" for index in range(6)]
    (project / "tags.csv").write_text("\n".join(["file_name,tag", *rows]) + "\n")
    return project


def test_tags_of_several_classes_get_a_pipeline(tagged, run_command, no_gpu):
    lines = start_project(request_of(tagged, "of_tags", "tags.csv"))
    pipeline = read_pipeline(str(tagged / "of_tags" / "pipeline.yaml"))
    assert list(pipeline.stages) == ["pam", "cues", "wsss", "maps", "bestie", "export"]
    assert pipeline.stages["bestie"].weights_from == "wsss"
    folder = tagged / "of_tags"
    cfgs = {name: load_config(str(folder / f"{name}.yaml")) for name in ("pam", "bestie")}
    assert cfgs["pam"].MODEL.PAM.NUM_CLASSES == cfgs["bestie"].MODEL.BESTIE.NUM_CLASSES == 2
    assert cfgs["bestie"].MODEL.BESTIE.SUPERVISION == "tags"
    told = run_command(commands(lines, "check-data")[0])
    assert "training set of_tags_train: 6 images" in told
    assert "a training could start" in told
    assert len(commands(lines, "run-pipeline")) == 1


def test_objects_that_no_threshold_parts_are_warned_of(project, no_gpu):
    content = json.loads((project / "points.json").read_text())
    for entry in content["points"]:
        entry["point"] = [0, 0] if entry["point"][0] < 32 else [63, 63]  # where nothing is
    (project / "beside.json").write_text(json.dumps(content))
    lines = start_project(request_of(project, "parted_by_nothing", "beside.json"))
    (line,) = [line for line in lines if line.startswith("WARNING")]
    assert "docs/alternatives.md" in line
    few, half = (Trial(ForegroundRecipe(), np.array([none, 2, 0]), 4) for none in (10, 2))
    (line,) = project_start._doubt(few)  # 2 * 2 / (12 + 4)
    assert "the best one has an F1 of 25 %, below 50 %" in line
    assert project_start._doubt(half) == []  # 2 * 2 / (4 + 4)


def test_what_an_export_leaves_out_is_told(project):
    (project / "some.csv").write_text("file,x,y\n0.png,3,70\n1.png,5,6\nz.png,5,6\n")
    labeled = project_start.read_labels(str(project / "images"), str(project / "some.csv"))
    images = project / "images"
    assert labeled.remarks[0] == "read as table of points"
    assert f"left out: 1 images that are not in {images} (first z.png)" in labeled.remarks
    assert "4 pictures of the folder are not in the labels" in labeled.remarks


def test_points_of_several_classes_get_weak_maps_from_their_tags(project, run_command, no_gpu):
    content = json.loads((project / "points.json").read_text())
    content["categories"].append({"id": 2, "name": "other"})
    for entry in content["points"][::2]:
        entry["category_id"] = 2
    (project / "two.json").write_text(json.dumps(content))
    lines = start_project(request_of(project, "of_two", "two.json"))
    pipeline = read_pipeline(str(project / "of_two" / "pipeline.yaml"))
    assert list(pipeline.stages) == ["pam", "wsss", "maps", "bestie", "export"]
    assert pipeline.stages["wsss"].weights_from == "pam"
    assert load_config(str(project / "of_two" / "bestie.yaml")).MODEL.BESTIE.SUPERVISION == "points"
    short = {"MAX_ITER": 1, "IMS_PER_BATCH": 2, "WARMUP_ITERS": 0}
    pairs = [f"{s}.SOLVER.{key} {short[key]}" for s in ("pam", "wsss") for key in short]
    options = ["--until wsss", *pairs, "pam.MODEL.WEIGHTS ''"]
    told = run_command(" ".join([*commands(lines, "run-pipeline"), *options]))  # without truth
    assert "wsss      run" in told
    assert (project / "of_two" / "pipeline" / "wsss" / "model_final.pth").is_file()


def test_a_gpu_gets_the_released_recipe_s_networks(tagged, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    start_project(request_of(tagged, "on_gpu", "tags.csv"))
    cfg = load_config(str(tagged / "on_gpu" / "bestie.yaml"))
    assert (cfg.MODEL.HRNET.ARCHITECTURE, cfg.MODEL.WEIGHTS) == ("hrnet_w48", "timm://hrnet_w48")
    assert read_pipeline(str(tagged / "on_gpu" / "pipeline.yaml")).stages["wsss"].weights_from == ""


def test_labels_that_teach_nothing_are_refused(project):
    (project / "one.csv").write_text("file_name,tag\n0.png,cat\n1.png,cat\n")
    with pytest.raises(InputError, match="every picture has the one tag 'cat'"):
        start_project(request_of(project, "nothing", "one.csv"))
    assert not (project / "nothing").exists()


def test_truth_of_other_classes_is_refused(tagged):
    truth = str(tagged / "annotations.json")
    with pytest.raises(
        InputError, match=r"categories \(square\) are not the classes asked for \(cat, dog\)"
    ):
        start_project(request_of(tagged, "nothing", "tags.csv", truth=truth))


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--val-share", "1", "more than 0, less than 1"),
        ("--hours", "nan", "more than 0; leave it out for the usual length"),
        ("--hours", "0", "more than 0; leave it out for the usual length"),
        ("--hours", "-1", "more than 0; leave it out for the usual length"),
    ],
)
def test_the_command_refuses_a_share_without_a_training_set_and_no_hours(
    monkeypatch, capsys, option, value, expected
):
    options = ("--images", "a", "--labels", "b", option, value)
    monkeypatch.setattr(sys, "argv", ["bestie", "init", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == f"error: {option} {value}: expected {expected}\n"


@pytest.mark.parametrize("command", ["init", "train"])
def test_the_usage_names_the_command(monkeypatch, capsys, command):
    program = sys.modules["__main__"]
    monkeypatch.setattr(sys, "argv", ["bestie", command, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out.startswith(f"usage: bestie {command} [-h] ")
    assert sys.modules["__main__"] is program


def test_lengths_of_photographs_are_the_recipe_s():
    found = {key: value for key, (value, _) in length_settings(PHOTOGRAPHS, GPU).items()}
    assert found["INPUT.BESTIE.LONG_SIDE"] == 449
    assert found["INPUT.BESTIE.CROP_SIZE"] == 416
    assert found["MODEL.BESTIE.MIN_AREA"] == 50
    assert found["MODEL.BESTIE.REFINEMENT.KERNEL"] == 41
    assert found["MODEL.BESTIE.LOSS.OFFSET_WEIGHT"] == 0.01
    small = length_settings(replace(PHOTOGRAPHS, diameter=20, small_diameter=10), CPU)
    assert small["INPUT.BESTIE.LONG_SIDE"][0] == 3 * 448 + 1  # the smaller ones get 30 pixels


def test_a_schedule_is_scaled_where_it_is_used():
    cfg = load_config(str(CONFIGS / "wsss_shapes.yaml"))
    found = {key: value for key, (value, _) in scaled_schedule(cfg, 0.5, "").items()}
    assert found == {
        "SOLVER.MAX_ITER": 160,
        "SOLVER.WARMUP_ITERS": 10,
        "SOLVER.CHECKPOINT_PERIOD": 40,
        "MODEL.WSSS.MASK_LOSS_START": 40,
    }
    found = scaled_schedule(load_config(str(CONFIGS / "pam_voc.yaml")), 0.1, "")
    assert found["SOLVER.STEPS"] == ([1058, 2116], "")


def test_sizes_are_measured_on_squares(project):
    labeled = project_start.read_labels(str(project / "images"), str(project / "points.json"))
    best, *_ = object_sizes.compare_thresholds(labeled, project_start.ImageReader())
    assert best.held.tolist() == [0, 12, 0]
    sizes = object_sizes.measured_sizes(labeled, best)
    sides = [np.sqrt(area) for area in best.areas]
    assert min(sides) >= 14
    assert max(sides) <= 24
    assert sizes.diameter == pytest.approx(np.sqrt(np.median(best.areas) * 4 / np.pi))
    assert (sizes.sides, sizes.most) == ((64, 64), 2)


def test_sizes_on_photographs_are_guessed_point_by_point():
    def points(*yx: tuple[float, float]) -> PointCues:
        count = len(yx)
        return PointCues(torch.tensor(yx), torch.zeros(count, dtype=torch.int64), torch.ones(count))

    alone = {name: points((50.0, 50.0)) for name in "abc"}  # a third of 300 pixels across
    close = {"d": points((10.0, 10.0), (10.0, 60.0))}  # seven tenths of 50 pixels
    records = [{"file_name": f"{name}.png", "height": 200, "width": 300} for name in "abcd"]
    sizes = object_sizes.guessed_sizes(LabeledSet("points", records, ["cat"], alone | close))
    assert (sizes.diameter, sizes.small_diameter, sizes.most) == pytest.approx((100, 35, 2))
    assert sizes.smallest_area == pytest.approx(np.pi / 4 * 35**2)


def test_yaml_has_keys_once_and_reasons_behind_them():
    settings = {"A.B": (1, "why"), "C": ([], ""), "A.D.E": ("x", ""), "A.F": ([{"n": "m"}], "")}
    assert as_yaml("What it is.", "base.yaml", settings) == (
        '# What it is.\n_BASE_: "base.yaml"\nC: []\nA:\n  B: 1  # why\n  F:\n    - n: m\n'
        "  D:\n    E: x\n"
    )


NEARLY = {  # the rules' values for nuclei may be so far from the ones that were chosen by hand
    "MODEL.BESTIE.SIGMA": 0.1,
    "MODEL.BESTIE.MIN_AREA": 0.1,
    "MODEL.BESTIE.TEST.MIN_AREA": 0.1,
    "MODEL.BESTIE.CLUSTERING.MIN_DISTANCE": 0.1,
}
ALIKE = (
    *("INPUT.BESTIE.LONG_SIDE", "INPUT.BESTIE.CROP_SIZE", "INPUT.MIN_SIZE_TEST"),
    *("INPUT.BESTIE.VERTICAL_FLIP", "MODEL.HRNET.ARCHITECTURE", "MODEL.BESTIE.HEAD_CHANNELS"),
    *("MODEL.BESTIE.SUPERVISION", "MODEL.BESTIE.TEST.KERNEL", "MODEL.BESTIE.TEST.FLIP"),
    *("MODEL.BESTIE.LOSS.OFFSET_WEIGHT", "MODEL.BESTIE.LOSS.SEM_SEG_TOP_K", "SOLVER.MAX_ITER"),
    *("SOLVER.BASE_LR", "SOLVER.IMS_PER_BATCH", "SOLVER.WARMUP_ITERS"),
    *("SOLVER.LR_SCHEDULER_NAME", "TEST.MAX_DETECTIONS_PER_IMAGE"),
)


def test_nuclei_get_what_was_chosen_for_them_by_hand(shared, tmp_path, no_gpu):
    nuclei = shared / "data" / "nuclei"
    points, truth = str(nuclei / "points_train.json"), str(nuclei / "instances_val.json")
    output = tmp_path / "begun_nuclei"
    lines = start_project(Request(str(nuclei / "images"), points, output, truth=truth))
    assert "WARNING" not in "\n".join(lines)
    found = load_config(str(output / "bestie.yaml"))
    by_hand = load_config(str(CONFIGS / "bestie_nuclei_point.yaml"), ["DATASETS.CUSTOM", "[]"])
    for key in ALIKE:
        assert value_of(found, key) == value_of(by_hand, key), key
    for key, share in NEARLY.items():
        assert value_of(found, key) == pytest.approx(value_of(by_hand, key), rel=share), key
