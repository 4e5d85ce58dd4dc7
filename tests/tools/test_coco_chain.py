"""Real COCO files, and images as rare ones of COCO are, from tags to Mask R-CNN: formats only.

Networks that have hardly learned may mark anything or nothing. So what is made of their cues and
weak maps is made of others, in their place, that are sure to hold pseudo instances.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("train", "val")
PERSON, DOG = 1, 18  # category ids
PERSON_INDEX = 1  # of a person in a weak map, and of its channel
SURE = 10.0  # a logit beside which all others are nothing
TINY, WIDE = (20, 30), (40, 400)  # height, width
COMMON = {
    "SEED": 1,
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.WARMUP_ITERS": 0,
    "DATALOADER.NUM_WORKERS": 0,
}
SMALL_VGG = {"MODEL.VGG.ARCHITECTURE": "vgg_small", "INPUT.TAGS.CROP_SIZE": 64}
OWN = {
    "pam": SMALL_VGG
    | {"MODEL.PAM.HEAD_CHANNELS": 16, "INPUT.TAGS.RESIZE": 72, "INPUT.TEST_SIDE": 64},
    "wsss": SMALL_VGG
    | {
        "MODEL.BACKBONE.NAME": "build_vgg_backbone",
        "MODEL.VGG.OUT_FEATURES": "['block3', 'block5']",
        "MODEL.WSSS.DEEP_FEATURE": "block5",
        "MODEL.WSSS.SHALLOW_FEATURE": "block3",
        "MODEL.WSSS.HEAD_CHANNELS": 16,
        "MODEL.WSSS.TEST.SCALES": "(0.25,)",
        "INPUT.TAGS.RESIZE": 72,
    },
    "bestie": {
        "MODEL.HRNET.ARCHITECTURE": "hrnet_w18_small",
        "MODEL.BESTIE.HEAD_CHANNELS": 16,
        "MODEL.BESTIE.MIN_AREA": 1,
        "MODEL.BESTIE.TEST.CLUSTERING": False,
        "INPUT.BESTIE.LONG_SIDE": 97,
        "INPUT.BESTIE.CROP_SIZE": 128,  # the whole image at every scale, with its cue
        "INPUT.MIN_SIZE_TEST": 64,
    },
    "mrcnn": {
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.FPN.OUT_CHANNELS": 16,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "SOLVER.BASE_LR": 0.001,
        "INPUT.MIN_SIZE_TRAIN": "(64,)",
        "INPUT.MIN_SIZE_TEST": 64,
        "TEST.DETECTIONS_PER_IMAGE": 5,
    },
}


def _rle(mask: np.ndarray) -> dict:
    rle = mask_api.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def _add_rare_images(content: dict, folder: Path) -> None:
    """A grey image too small for every crop with an RLE of no crowd, a wide one with a dog and a
    crowd, one of a crowd alone, and one of nothing."""
    content["annotations"] = list(content["annotations"])
    for image_id, (size, entries) in enumerate(
        [(TINY, [(PERSON, 0)]), (WIDE, [(DOG, 0), (PERSON, 1)]), (WIDE, [(DOG, 1)]), (TINY, [])],
        start=1,
    ):
        name = f"{image_id:012}.jpg"
        pixels = np.random.default_rng(image_id).integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        height, width = size
        content["images"].append(
            {"id": image_id, "file_name": name, "height": height, "width": width}
        )
        for category_id, iscrowd in entries:
            mask = np.zeros(size, np.uint8)
            mask[5:15, 10 * iscrowd : 10 * iscrowd + 10] = 1
            content["annotations"].append(
                {"id": len(content["annotations"]) + 1, "image_id": image_id}
                | {"category_id": category_id, "iscrowd": iscrowd, "segmentation": _rle(mask)}
                | {"bbox": [10 * iscrowd, 5, 10, 10], "area": 100}
            )


@pytest.fixture
def sources(shared: Path, tmp_path: Path) -> dict[str, dict]:
    """What the annotation files of both splits of ``tmp_path/coco`` say."""
    data, contents = shared / "data" / "coco_mini", {}
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    for split in SPLITS:
        folder = tmp_path / "coco" / f"{split}2017"
        folder.mkdir()
        for image in (data / f"{split}2017").iterdir():
            (folder / image.name).symlink_to(image)
        name = f"annotations/instances_{split}2017.json"
        contents[split] = json.loads((data / name).read_text())
        for number, entry in enumerate(contents[split]["annotations"], start=1):
            entry["id"] = number
        _add_rare_images(contents[split], folder)
        (tmp_path / "coco" / name).write_text(json.dumps(contents[split]))
    return contents


def run(folder: Path, tool: str, *arguments: str, code: int = 0) -> str:
    """What a tool prints, or for another exit code than 0 what it complains of."""
    environment = {**os.environ, "DETECTRON2_DATASETS": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / tool), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == code, done.stderr[-2000:]
    return done.stderr if code else done.stdout


def tags_of(content: dict) -> set[tuple[int, int]]:
    """The (image id, category id) that a COCO file tags its images with."""
    entries = (entry for entry in content["annotations"] if not entry["iscrowd"])
    return {(entry["image_id"], entry["category_id"]) for entry in entries}


def check_cues(path: Path, content: dict) -> None:
    cues, tags = json.loads(path.read_text()), tags_of(content)
    assert {image["id"] for image in cues["images"]} == {image_id for image_id, _ in tags}
    assert cues["points"]
    assert {(point["image_id"], point["category_id"]) for point in cues["points"]} <= tags
    category_ids = [category["id"] for category in content["categories"]]
    assert [category["id"] for category in cues["categories"]] == category_ids


def check_maps(folder: Path, content: dict, trained: dict[int, dict]) -> None:
    category_ids = [category["id"] for category in content["categories"]]
    assert len(list(folder.glob("*.png"))) == len(trained)
    for image_id, image in trained.items():
        with Image.open(folder / image["file_name"].replace(".jpg", ".png")) as drawn:
            assert drawn.size == (image["width"], image["height"])
            shown = set(np.unique(np.array(drawn)).tolist()) - {0, 255}
        assert {(image_id, category_ids[index - 1]) for index in shown} <= tags_of(content)


def check_labels(path: Path, content: dict, trained: dict[int, dict]) -> None:
    """Of a network that takes every pixel for a person: what is none is of a tagged class."""
    labels, tags = COCO(str(path)), tags_of(content)
    assert set(labels.getImgIds()) == set(trained)
    labeled = {(label["image_id"], label["category_id"]) for label in labels.anns.values()}
    assert labeled <= tags
    assert {image_id for image_id, _ in labeled} == set(trained)
    with_persons = {image_id for image_id, category_id in tags if category_id == PERSON}
    persons = {(image_id, PERSON) for image_id in with_persons}
    assert {tag for tag in labeled if tag[0] in with_persons} == persons
    assert labeled - persons
    for label in labels.anns.values():
        image = trained[label["image_id"]]
        assert labels.annToMask(label).shape == (image["height"], image["width"])
        assert labels.annToMask(label).sum() == label["area"] > 0


def give_labels(cues: Path, maps: Path, content: dict, trained: dict[int, dict]) -> None:
    """Put one object with its cue, the left half of the image, in place of what was found."""
    found, points = json.loads(cues.read_text()), []
    indices = {category["id"]: n for n, category in enumerate(content["categories"], start=1)}
    for image_id, category_id in sorted(dict(sorted(tags_of(content))).items()):
        image = trained[image_id]
        index_map = np.zeros((image["height"], image["width"]), np.uint8)
        index_map[:, : image["width"] // 2] = indices[category_id]
        Image.fromarray(index_map).save(maps / image["file_name"].replace(".jpg", ".png"))
        point = [image["width"] // 4, image["height"] // 2]
        ids = {"image_id": image_id, "category_id": category_id}
        points.append({**ids, "point": point, "score": 1.0})
    cues.write_text(json.dumps({**found, "points": points}))


def save_network_of_persons(path: Path) -> None:
    """BESTIE's weights, with which every pixel is a person's."""
    overrides = [str(word) for pair in (COMMON | OWN["bestie"]).items() for word in pair]
    model = Trainer.build_model(load_config(f"{ROOT}/configs/bestie_coco.yaml", overrides))
    model.head.seg[-1].bias.data[PERSON_INDEX] = SURE
    torch.save({"model": model.state_dict()}, path)


def losses_of(stage: Path) -> dict[str, float]:
    """What a training wrote down of its few iterations."""
    lines = map(json.loads, (stage / "metrics.json").read_text().splitlines())
    return next(line for line in lines if "lr" in line)


@pytest.mark.slow
@pytest.mark.timeout(900)  # 80 seconds on an idle core
def test_tags_to_mask_rcnn(sources, tmp_path):
    train, weights = sources["train"], tmp_path / "persons.pth"
    recipe = (ROOT / "configs/pipelines/coco.yaml").read_text().replace("../", f"{ROOT}/configs/")
    (tmp_path / "coco.yaml").write_text(recipe.replace("threshold: 0.1", "threshold: 0.0"))
    save_network_of_persons(weights)
    chain = ["--config", str(tmp_path / "coco.yaml")]
    for stage, own in OWN.items():
        for key, value in (COMMON | own).items():
            chain += [f"{stage}.{key}", str(value)]
    chain += ["bestie.MODEL.WEIGHTS", str(weights)]
    trained = {image["id"]: image for image in train["images"]}
    trained = {key: trained[key] for key in {image_id for image_id, _ in tags_of(train)}}
    assert len(trained) == len(train["images"]) - 2

    run(tmp_path, "run_pipeline.py", "--until", "maps", *chain)
    output = tmp_path / "output/coco_pipeline"
    cues, maps = output / "cues/cues.json", output / "maps/weak_maps"
    check_cues(cues, train)
    check_maps(maps, train, trained)
    assert 0 < json.loads((output / "maps/manifest.json").read_text())["figures"]["mIoU"] < 100
    config = ("--config-file", f"{ROOT}/configs/bestie_coco.yaml")
    weak = ("DATASETS.WEAK_MAPS", str(maps), "DATASETS.CUES", str(cues))
    told = run(tmp_path, "check_data.py", *config, "--jobs", "2", *weak, "MODEL.DEVICE", "cpu")
    assert f"training set coco_2017_train_tags: {len(trained)} images" in told
    assert "a training could start" in told

    give_labels(cues, maps, train, trained)
    run(tmp_path, "run_pipeline.py", "--from", "bestie", *chain)
    losses = losses_of(output / "bestie")
    assert min(losses["loss_center_pseudo"], losses["loss_offset_pseudo"]) > 0
    assert losses["total_loss"] < 100
    check_labels(output / "export/pseudo_labels.json", train, trained)
    losses = losses_of(output / "mrcnn")
    assert min(losses["roi_head/num_fg_samples"], losses["loss_mask"]) > 0
    figures = json.loads((output / "evaluate/manifest.json").read_text())["figures"]
    for name in ("mrcnn/segm/AP", "mrcnn/voc_instance/mAP50", "bestie/segm/AP"):
        assert 0 <= figures[name] <= 100
    (maps / f"{1:012}.png").unlink()
    told = run(tmp_path, "check_data.py", *config, "--weak-maps", str(maps), code=2)
    assert f"1 of {len(trained)} maps cannot be used" in told
