"""tools/export_pseudo_labels.py on a tiny data set, with a model that never learned anything."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.engine.configuration import load_config
from bestie_d2.runs import pseudo_label_export
from bestie_d2.storage import machine_shares
from bestie_d2.storage.processes import only_run_for

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "export_pseudo_labels.py"
NAMES = ["fünf.png", "a b.png", "日本.png", "d.png", "e.png"]
TAGS = [[3], [3, 7], [7], [], [3, 7]]  # category ids; of the file, with a gap
POINTS = [  # (x, y)
    {"image_id": image_id, "category_id": category_id, "point": point}
    for image_id, category_id, point in (
        (1, 3, [5, 5]), (1, 3, [50, 30]), (11, 3, [20, 20]), (21, 7, [40, 10]), (41, 7, [9, 44])
    )
]  # fmt: skip

TINY = """
_BASE_: "{base}/bestie_shapes.yaml"
MODEL:
  DEVICE: "cpu"
  WEIGHTS: "{folder}/model.pth"
  BESTIE:
    NUM_CLASSES: 2
    TEST:
      MIN_AREA: 1
DATASETS:
  CUSTOM:
    - name: "tiny_tagged"
      images: "{folder}/images"
      tags: "{folder}/tags.json"
    - name: "tiny_true"
      images: "{folder}/images"
      tags: "{folder}/tags.json"
      annotations: "{folder}/truth.json"
    - name: "tiny_pointed"
      images: "{folder}/images"
      points: "{folder}/points.json"
  TRAIN: ("tiny_tagged",)
DATALOADER:
  NUM_WORKERS: 0
OUTPUT_DIR: "{folder}/output"
"""


def write_lists(folder: Path) -> None:
    """Images of noise, their tags, and a true square of the first tag in each image."""
    images, tagged, truth = [], [], []
    random = np.random.default_rng(0)
    for number, (name, tags) in enumerate(zip(NAMES, TAGS, strict=True)):
        height, width = 40 + 3 * number, 61 - 5 * number
        pixels = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        image_id = 10 * number + 1
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        tagged += [{"image_id": image_id, "category_id": tag} for tag in tags]
        mask = np.zeros((height, width), np.uint8, order="F")
        mask[:20, :30] = 1
        rle = mask_api.encode(mask)
        rle["counts"] = rle["counts"].decode()
        for tag in tags[:1]:
            entry = {"id": len(truth) + 1, "image_id": image_id, "category_id": tag}
            truth.append({**entry, "bbox": [0, 0, 30, 20], "area": 600, "segmentation": rle})
    common = {"images": images, "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]}
    (folder / "tags.json").write_text(json.dumps({**common, "annotations": tagged}))
    (folder / "truth.json").write_text(json.dumps({**common, "annotations": truth}))
    (folder / "points.json").write_text(json.dumps({**common, "points": POINTS}))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    (folder / "images").mkdir()
    write_lists(folder)
    (folder / "tiny.yaml").write_text(TINY.format(base=ROOT / "configs", folder=folder))
    torch.manual_seed(0)
    model = build_model(load_config(str(folder / "tiny.yaml")))
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    return folder


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool(TOOL)


@pytest.fixture
def run(tool, project, run_main):
    """Runs the tool in this process; returns what it printed. ``code``: the exit code expected."""

    def run(*arguments: str, code: int = 0) -> str:
        words = ["--config-file", str(project / "tiny.yaml"), *arguments]
        return run_main(tool, [str(TOOL), *words], code)

    return run


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "out" / "labels.json"


EVERYTHING = ("--score-threshold", "0")


@pytest.fixture
def whole(run, tmp_path) -> bytes:
    """The file of an undisturbed run."""
    path = tmp_path / "whole.json"
    run("--output", str(path), *EVERYTHING)
    return path.read_bytes()


def test_the_file_and_the_report(run, output, project):
    out = run("--output", str(output), *EVERYTHING, "--dataset", "tiny_true", "--top-k", "3")
    content = json.loads(output.read_text())
    assert [image["file_name"] for image in content["images"]] == NAMES
    assert content["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    found = {(a["image_id"], a["category_id"]) for a in content["annotations"]}
    tags = json.loads((project / "tags.json").read_text())["annotations"]
    assert found
    assert found <= {(tag["image_id"], tag["category_id"]) for tag in tags}
    info = content["info"]
    assert (info["dataset"], info["untagged_classes_removed"]) == ("tiny_true", True)
    assert (info["score_threshold"], info["min_area"], info["top_k"]) == (0.0, 1, 3)
    assert len(info["weights"]) == 64
    assert info["config"]["MODEL.BESTIE.TEST.MIN_AREA"] == "1"
    assert str(project) not in output.read_text()
    assert f"labels: {len(content['annotations'])} in 5 images" in out
    assert " % of 4 objects, mean IoU" in out
    assert "0.9 - 1.0" in out
    assert f"pseudo labels written to {output}" in out


def test_a_stock_model_gives_labels_too(run, output, project, tmp_path):
    config = str(ROOT / "configs" / "mrcnn_shapes.yaml")
    keys = ["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", "2", "INPUT.MIN_SIZE_TEST", "64",
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", "7",
            "DATALOADER.NUM_WORKERS", "0"]  # fmt: skip
    weights = tmp_path / "stock.pth"
    torch.manual_seed(0)
    torch.save({"model": build_model(load_config(config, keys)).state_dict()}, weights)
    words = ["--ignore-tags", *EVERYTHING, "--dataset", "tiny_tagged", "--config-file", config]
    run("--output", str(output), *words, *keys, "MODEL.WEIGHTS", str(weights))
    content = json.loads(output.read_text())
    count = Counter(label["image_id"] for label in content["annotations"])
    assert 0 < max(count.values()) <= 7
    assert content["info"]["config"]["TEST.DETECTIONS_PER_IMAGE"] == "7"


def test_tags_and_cuts_choose(run, output):
    def labels(*arguments: str) -> list[dict]:
        run("--output", str(output), "--overwrite", *EVERYTHING, *arguments)
        content = json.loads(output.read_text())
        assert content["info"]["untagged_classes_removed"] == ("--ignore-tags" not in arguments)
        return content["annotations"]

    everything, cleaned = labels("--ignore-tags"), labels()
    assert {a["image_id"] for a in everything} >= {31}  # of the image without any tag
    assert 0 < len(cleaned) < len(everything)
    score = sorted(a["score"] for a in everything)[len(everything) // 2]
    sure = labels("--ignore-tags", "--score-threshold", f"{score:.4f}")
    assert 0 < len(sure) < len(everything)
    assert min(a["score"] for a in sure) >= round(score, 4) - 1e-6
    assert min(a["area"] for a in labels("--min-area", "9")) >= 9


def test_what_looks_like_an_untagged_class_becomes_a_tagged_one(run, output, project):
    classes = defaultdict(set)
    for tag in json.loads((project / "tags.json").read_text())["annotations"]:
        classes[tag["image_id"]].add(tag["category_id"])

    def areas(*arguments: str) -> Counter:
        """Pixels of each class of images with one tag."""
        run("--output", str(output), "--overwrite", *EVERYTHING, *arguments)
        found = Counter()
        for label in json.loads(output.read_text())["annotations"]:
            if len(classes[label["image_id"]]) == 1:
                right = label["category_id"] in classes[label["image_id"]]
                found["right" if right else "wrong"] += label["area"]
        return found

    free, told = areas("--ignore-tags"), areas()
    assert free["wrong"] > 0
    assert told["wrong"] == 0
    assert told["right"] >= free["right"] + free["wrong"]


BY_POINTS = (
    *("--dataset", "tiny_pointed", *EVERYTHING, "MODEL.BESTIE.SUPERVISION", "points"),
    *("MODEL.BESTIE.TEST.USE_POINTS", "True"),
)


def test_given_points_are_the_centers(run, output, tmp_path):
    run("--output", str(output), *BY_POINTS)
    held: Counter = Counter()
    for label in json.loads(output.read_text())["annotations"]:
        mask = mask_api.decode(label["segmentation"])
        own = [
            tuple(point["point"])
            for point in POINTS
            if all(point[key] == label[key] for key in ("image_id", "category_id"))
            and mask[point["point"][1], point["point"][0]]
        ]
        assert len(own) == 1
        held[label["image_id"], own[0]] += 1
    assert set(held.values()) == {1}
    assert len(held) >= 3  # of five; some lie on what is taken for background
    again = tmp_path / "again.json"
    run("--output", str(again), "--jobs", "2", *BY_POINTS)
    assert again.read_bytes() == output.read_bytes()


def test_points_out_of_a_file(run, output, project, tmp_path):
    run("--output", str(output), *BY_POINTS)
    every = json.loads(output.read_text())
    content = json.loads((project / "points.json").read_text())
    content["points"][0]["score"] = 0.2  # below DATASETS.CUE_THRESHOLD
    content["points"] = content["points"][:2]
    path = tmp_path / "others.json"
    path.write_text(json.dumps(content))
    run("--output", str(output), "--overwrite", *BY_POINTS, "DATASETS.CUES", str(path))
    others = json.loads(output.read_text())
    assert len(others["annotations"]) <= 1 < len(every["annotations"])
    assert others["info"]["points"] != every["info"]["points"]
    path.write_text(json.dumps(content).replace(".png", "_x.png"))
    line = run(
        "--output", str(output), "--overwrite", *BY_POINTS, "DATASETS.CUES", str(path), code=2
    )
    assert f"cues {path}: none of the data set's 5 images is in it" in line


def test_other_points_are_other_labels(run, output, project, monkeypatch):
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pseudo_label_export, "write_label_file", stop)
        run("--output", str(output), *BY_POINTS, code=130)
    path = project / "points.json"
    content = path.read_text()
    try:
        path.write_text(content.replace("[20, 20]", "[21, 20]"))
        assert "points was" in run("--output", str(output), *BY_POINTS, code=2)
    finally:
        path.write_text(content)


def test_a_kill_and_several_processes_change_no_byte(
    run, output, whole, project, monkeypatch, die_after_two_results
):
    output.parent.mkdir()
    config = ["--config-file", str(project / "tiny.yaml")]
    argv = [str(TOOL), *config, "--output", str(output), *EVERYTHING]
    die_after_two_results(argv)
    assert not output.exists()
    out = run("--output", str(output), *EVERYTHING, "--jobs", "2")
    assert "2 images are done already, 3 to go" in out
    assert output.read_bytes() == whole
    assert [path.name for path in output.parent.iterdir()] == ["labels.json"]


def test_machines_share_the_images_and_the_first_does_what_a_lost_one_left(
    run, output, whole, project, monkeypatch, die_after_two_results
):
    monkeypatch.setattr(machine_shares, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(machine_shares, "SECONDS_TO_BEGIN", 0.2)
    output.parent.mkdir()
    words = ["--output", str(output), *EVERYTHING, "--num-machines", "3"]
    assert "the machine of rank 0 has begun nothing of these options there in 0.2 s" in run(
        *words, "--machine-rank", "1", code=2
    )
    die_after_two_results([str(TOOL), "--config-file", str(project / "tiny.yaml"), *words])
    second = run(*words, "--machine-rank", "1")  # while no other one works
    assert "2 images of a share to go" in second
    assert f"share of machine 1 of 3 is done; the machine of rank 0 writes {output}" in second
    assert not output.exists()
    third = ExitStack()
    third.enter_context(only_run_for(f"{output}.share-2-of-3"))
    assert "another run is working there" in run(*words, "--machine-rank", "2", code=2)
    # It is lost, with its lock, while the first one waits for it.
    monkeypatch.setattr(machine_shares.time, "sleep", lambda seconds: third.close())
    first = run(*words)
    assert f"waiting for machine 2: --output {output}.share-2-of-3: another run" in first
    assert first.count("1 images of a share to go") == 1
    assert output.read_bytes() == whole
    assert [path.name for path in output.parent.iterdir()] == ["labels.json"]


def test_ctrl_c_keeps_what_is_done_but_not_for_other_settings(run, output, whole, monkeypatch):
    whole_result = pseudo_label_export.labels_of

    def interrupted(record: dict, *arguments: object, **options: object) -> dict:
        if record["image_id"] == 11:
            raise KeyboardInterrupt
        return whole_result(record, *arguments, **options)

    monkeypatch.setattr(pseudo_label_export, "labels_of", interrupted)
    assert "run the same command again" in run("--output", str(output), *EVERYTHING, code=130)
    monkeypatch.undo()
    line = run("--output", str(output), "--score-threshold", "0.5", code=2)
    assert "score_threshold was 0.0, is 0.5" in line
    assert "use_tags was True, is False" in run(
        "--output", str(output), *EVERYTHING, "--ignore-tags", code=2
    )
    assert "1 images are done already" in run("--output", str(output), *EVERYTHING)
    assert output.read_bytes() == whole
    assert "is there already; --overwrite" in run("--output", str(output), code=2)


def test_an_unreadable_image_stops_the_run_or_is_left_out(run, project, output):
    path = project / "images" / NAMES[1]
    image = path.read_bytes()
    try:
        path.write_bytes(image[: len(image) // 2])
        line = run("--output", str(output), code=2)
        assert f"image {path}: not a readable image" in line
        assert "--skip-bad" in line
        assert not output.exists()
        assert f"left out: image {path}" in run("--output", str(output), "--skip-bad")
    finally:
        path.write_bytes(image)
    images = json.loads(output.read_text())["images"]
    assert [entry["file_name"] for entry in images] == [NAMES[0], *NAMES[2:]]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--jobs", "0"], "--jobs 0: expected 1 or more"),
        (["--score-threshold", "1.5"], "--score-threshold 1.5: expected 0 to 1"),
        (["--min-area", "0"], "--min-area 0: expected 1 or more pixels"),
        (["--top-k", "0"], "--top-k 0: expected 1 or more"),
        (["--dataset", "nothing"], "'nothing' is not registered"),
        (["MODEL.WEIGHTS", "nowhere.pth"], "nowhere.pth: no such file"),
        (["MODEL.BESTIE.NUM_CLASSES", "3"], "the model has 3 classes"),
        (["MODEL.BESTIE.TEST.USE_POINTS", "True"], "needs BESTIE, with MODEL.BESTIE.SUPERVISION"),
        (
            ["MODEL.BESTIE.SUPERVISION", "points", "MODEL.BESTIE.TEST.USE_POINTS", "True"],
            "'tiny_tagged' is registered without them: set DATASETS.CUES",
        ),
        (
            ["MODEL.META_ARCHITECTURE", "PAMClassifier", "MODEL.PAM.NUM_CLASSES", "2"],
            "'PAMClassifier', which finds no instances",
        ),
    ],
)
def test_refusals(run, output, arguments, line):
    assert line in run("--output", str(output), *arguments, code=2)
    assert not output.parent.exists()


def test_a_data_set_without_an_image_folder_is_told(run, output):
    root = MetadataCatalog.get("tiny_tagged").__dict__.pop("image_root")
    try:
        assert "has no image_root" in run("--output", str(output), code=2)
    finally:
        MetadataCatalog.get("tiny_tagged").image_root = root
