"""COCO's configurations: VOC's recipes but for what their comments name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from bestie_d2.engine.configuration import load_config
from bestie_d2.model_keys import num_classes

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TAGGED_IMAGES = 117_266  # of train2017
EVERYWHERE = {"DATASETS.TRAIN", "DATASETS.TEST", "OUTPUT_DIR"}
SCHEDULE = {"SOLVER.MAX_ITER", "SOLVER.CHECKPOINT_PERIOD"}


def flat(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize(
    ("name", "voc", "changed"),
    [
        ("pam", "pam", {"MODEL.PAM.NUM_CLASSES", "SOLVER.STEPS", "TEST.EVAL_PERIOD"} | SCHEDULE),
        ("wsss", "wsss", {"MODEL.WSSS.NUM_CLASSES", "MODEL.WSSS.MASK_LOSS_START"} | SCHEDULE),
        ("bestie", "bestie", {"MODEL.BESTIE.NUM_CLASSES"}),
    ],
)
def test_what_is_not_vocs(name, voc, changed):
    coco = load_config(str(CONFIGS / f"{name}_coco.yaml"))
    other = dict(flat(load_config(str(CONFIGS / f"{voc}_voc.yaml"))))
    assert {key for key, value in flat(coco) if value != other[key]} == changed | EVERYWHERE
    assert num_classes(coco) == len(MetadataCatalog.get(coco.DATASETS.TEST[0]).thing_classes) == 80


def test_points_differ_by_their_set_alone():
    tags, points = (
        dict(flat(load_config(str(CONFIGS / f"bestie_coco{kind}.yaml")))) for kind in ("", "_point")
    )
    changed = {key for key in tags if tags[key] != points[key]}
    assert changed == {"MODEL.BESTIE.SUPERVISION", "DATASETS.TRAIN", "OUTPUT_DIR"}
    assert points["DATASETS.TRAIN"] == ("coco_2017_train_point",)


def test_epochs():
    pam, wsss = (load_config(str(CONFIGS / f"{name}_coco.yaml")) for name in ("pam", "wsss"))

    def epochs(cfg: CfgNode, iterations: int) -> float:
        return pytest.approx(iterations * cfg.SOLVER.IMS_PER_BATCH / TAGGED_IMAGES, abs=0.01)

    assert [epochs(pam, i) for i in (*pam.SOLVER.STEPS, pam.SOLVER.MAX_ITER)] == [5, 10, 15]
    assert [epochs(wsss, i) for i in (wsss.MODEL.WSSS.MASK_LOSS_START, wsss.SOLVER.MAX_ITER)] == [
        5,
        20,
    ]
