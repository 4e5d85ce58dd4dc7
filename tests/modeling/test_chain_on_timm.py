"""Every network of the chain from tags to Mask R-CNN, on a timm network and its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from bestie_d2.weights.checkpoint import BestieCheckpointer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CHAIN = {
    "pam_voc.yaml": ("MODEL.PAM.IN_FEATURE", "res5", "MODEL.PAM.HEAD_CHANNELS", "8"),
    "wsss_voc.yaml": ("MODEL.WSSS.HEAD_CHANNELS", "8", "MODEL.WSSS.MASK_LOSS_START", "0"),
    "bestie_voc.yaml": ("MODEL.BESTIE.HEAD", "DualDecoderInstanceHead"),
    "mrcnn_voc.yaml": ("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.ROI_BOX_HEAD.FC_DIM", "16"),
}


@pytest.mark.parametrize("file", CHAIN)
@pytest.mark.parametrize("frozen", [False, True])
def test_weights_reach_the_network_and_it_learns(file, frozen, tiny_config, weak_batch, package):
    pyramid = "_fpn" if file.startswith("mrcnn") else ""
    cfg = tiny_config(
        CONFIGS / file,
        "MODEL.BACKBONE.NAME", f"build_timm{pyramid}_backbone",
        "MODEL.TIMM.NAME", "tf_efficientnet_lite0",
        "MODEL.TIMM.FREEZE_AT", "2" if frozen else "0",
        "MODEL.TIMM.FREEZE_NORM", str(frozen),
        *CHAIN[file],
    )  # fmt: skip
    model = build_model(cfg).train()
    BestieCheckpointer(model).load("package://weights_of_lite0/models/lite0.pth")
    network = model.backbone.bottom_up if pyramid else model.backbone
    loaded = network.body.state_dict()
    assert {"conv_stem.weight", "bn1.running_var", "blocks.6.0.bn3.bias"} <= loaded.keys()
    assert all(torch.equal(value, package[key]) for key, value in loaded.items())

    with EventStorage(0):
        loss = sum(model(weak_batch(cfg)).values())
    assert torch.isfinite(loss)
    loss.backward()
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name, p in model.named_parameters() if p.grad is not None} == learning
    of_backbone = {name for name in learning if ".body." in name}
    assert any(".bn" in name for name in of_backbone) == (not frozen and "wsss" not in file)
    assert not (frozen and any(".conv_stem." in name for name in of_backbone))


def test_the_head_of_the_wsss_network_goes_on_as_that_of_bestie(tiny_config, weak_batch, tmp_path):
    timm = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NAME", "convnext_atto")
    torch.manual_seed(3)
    cfg = tiny_config(CONFIGS / "wsss_voc.yaml", *timm, *CHAIN["wsss_voc.yaml"])
    wsss = build_model(cfg).eval()
    torch.nn.init.normal_(wsss.head.last[-1].weight)  # that the classes differ
    BestieCheckpointer(wsss, str(tmp_path)).save("wsss")
    cfg = tiny_config(
        CONFIGS / "bestie_voc.yaml", *timm, "MODEL.BESTIE.HEAD", "WSSSInstanceHead",
        "MODEL.BESTIE.HEAD_CHANNELS", "16", *CHAIN["wsss_voc.yaml"],
    )  # fmt: skip
    bestie = build_model(cfg).eval()
    BestieCheckpointer(bestie).load(str(tmp_path / "wsss.pth"))
    image = weak_batch(cfg)[0]["image"]
    with torch.no_grad():
        seen = wsss.normalize(image[None])
        logits = wsss.head(wsss.backbone(seen))
        sem_seg, center, offset = bestie.head.branches(bestie.backbone(seen))
    assert logits.std() > 0.1
    torch.testing.assert_close(sem_seg[:, 1:], logits, atol=0.03, rtol=0)  # decoders add little yet
    torch.testing.assert_close(
        sem_seg[:, 0], torch.full_like(sem_seg[:, 0], cfg.MODEL.WSSS.BACKGROUND_LOGIT),
        atol=0.03, rtol=0,
    )  # fmt: skip
    assert center.shape == logits.shape
    assert offset.shape[1] == 2

    with EventStorage(0):
        sum(bestie.train()(weak_batch(cfg)).values()).backward()
    assert all(p.grad is not None for p in bestie.parameters())
