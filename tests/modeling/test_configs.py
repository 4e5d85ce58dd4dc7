"""Every yaml in configs/ is loaded, built, trained for a step and asked for instances."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from bestie_d2.engine.trainer import Trainer
from bestie_d2.model_keys import num_classes

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PIPELINES = CONFIGS / "pipelines"
CHAINS = (PIPELINES, CONFIGS / "tables")  # no configurations: chains of them, and tables of those
PARTS = ("Base-voc_animals.yaml",)  # second bases, without a network
FILES = sorted(
    path for path in CONFIGS.rglob("*.yaml") if path.parent not in CHAINS and path.name not in PARTS
)
DEEP = ("bestie_voc.yaml", "bestie_voc_R50.yaml")  # tested at full depth; the others need not be


def test_the_promised_configurations_are_there():
    names = {path.name for path in FILES}
    assert {
        "Base-BESTIE.yaml",
        "bestie_voc.yaml",
        "bestie_voc_point.yaml",
        "bestie_voc_R50.yaml",
        "bestie_shapes.yaml",
        "bestie_nuclei_point.yaml",
        "bestie_coco.yaml",
        "bestie_coco_point.yaml",
        "pam_coco.yaml",
        "pam_voc.yaml",
        "wsss_coco.yaml",
        "pam_shapes.yaml",
        "wsss_voc.yaml",
        "wsss_shapes.yaml",
    } <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_load_build_step_and_infer(path, tiny_config, weak_batch):
    smaller = () if path.name in DEEP else ("MODEL.HRNET.ARCHITECTURE", "hrnet_w18_small")
    cfg = tiny_config(path, *smaller)
    assert cfg.SEED >= 0  # a resumed training sees the images that it would have seen
    model = build_model(cfg).train()
    optimizer = Trainer.build_optimizer(cfg, model)
    scheduler = Trainer.build_lr_scheduler(cfg, optimizer)
    before = [p.detach().clone() for p in model.parameters()]
    with EventStorage(0):
        losses = model(weak_batch(cfg))
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)  # nothing is built for nothing
    optimizer.step()
    scheduler.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    model.eval()
    image = torch.randint(0, 255, (3, 50, 70), dtype=torch.uint8)
    (output,) = model([{"image": image, "height": 100, "width": 140}])
    CHECKS.get(cfg.MODEL.META_ARCHITECTURE, check_instances)(output, num_classes(cfg))


def check_instances(output: dict, num_classes: int) -> None:
    assert output["instances"].image_size == (100, 140)
    assert output["instances"].pred_masks.shape[1:] == (100, 140)


def check_activations(output: dict, num_classes: int) -> None:
    assert output["tag_logits"].shape == (num_classes,)
    assert output["cams"].shape[0] == num_classes


def check_semantic_map(output: dict, num_classes: int) -> None:
    assert output["sem_seg"].shape == (num_classes + 1, 100, 140)


CHECKS = {"PAMClassifier": check_activations, "SingleStageWSSS": check_semantic_map}
