from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY, build_model

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.modeling.heads.pam import PAMHead, PeakAttention, apply_after
from bestie_d2.modeling.meta_arch.pam_classifier import layer_activations
from bestie_d2.ops.peak_attention import peak_attention

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pam_shapes.yaml"


def build(*overrides: str):
    torch.manual_seed(0)
    return build_model(load_config(str(CONFIG), ["MODEL.DEVICE", "cpu", *overrides]))


@pytest.fixture
def batch() -> list[dict]:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (2, 3, 32, 40), generator=random, dtype=torch.uint8)
    tags = torch.tensor([[True, False, True, False], [False, True, False, False]])
    return [{"image": i, "image_classes": t} for i, t in zip(images, tags, strict=True)]


def test_the_head_is_registered_and_shares_names_with_the_released_one():
    head = SEM_SEG_HEADS_REGISTRY.get("PAMHead")(
        in_channels=6, hidden_channels=8, num_classes=3, alpha=0.7
    )
    assert set(head.state_dict()) == {
        f"extra_conv{n}.{kind}" for n in (1, 2, 3, 4) for kind in ("weight", "bias")
    }


def test_the_head_puts_pam_in_place_of_every_relu():
    head = PAMHead(in_channels=2, hidden_channels=3, num_classes=2, alpha=0.6)
    features = torch.randn(1, 2, 7, 5, generator=torch.Generator().manual_seed(1))
    expected = features
    for convolution in (head.extra_conv1, head.extra_conv2, head.extra_conv3):
        padded = F.conv2d(expected, convolution.weight, convolution.bias, padding=1)
        expected = peak_attention(padded, 0.6)
    expected = F.conv2d(expected, head.extra_conv4.weight, head.extra_conv4.bias)
    torch.testing.assert_close(head(features), expected)


def test_loss_is_the_soft_margin_of_the_maps_means(batch):
    model = build().train()
    loss = model(batch)["loss_tags"]
    model.eval()  # batch statistics aside, the same maps
    images = model.normalize(torch.stack([item["image"] for item in batch]))
    model.train()
    logits = model.class_activation_maps(images).mean(dim=(-2, -1))
    tags = torch.stack([item["image_classes"] for item in batch]).float()
    expected = -(tags * F.logsigmoid(logits) + (1 - tags) * F.logsigmoid(-logits)).mean()
    torch.testing.assert_close(loss, expected)


def test_inference_averages_image_and_mirror_image(batch):
    model = build().eval()
    (output,) = model(batch[:1])
    assert output["cams"].shape == (4, 8, 10)
    torch.testing.assert_close(output["tag_logits"], output["cams"].mean(dim=(-2, -1)))
    mirrored = model([{"image": batch[0]["image"].flip(-1)}])[0]["cams"]
    torch.testing.assert_close(mirrored.flip(-1), output["cams"])
    plain = build("MODEL.PAM.TEST.FLIP", "False").eval()(batch[:1])[0]["cams"]
    assert not torch.allclose(plain, output["cams"])


def spy(model) -> list[tuple[str, float]]:
    """Names of the modules whose outputs are sent through something."""
    return [name for name, module in model.named_modules() if len(module._forward_hooks)]


def test_layers_choose_where_pam_is():
    relus = {4: "backbone.body.16", 5: "backbone.body.19"}
    for layers in ((), (6,), (4,), (5, 6), (4, 5, 6)):
        model = build("MODEL.PAM.LAYERS", str(layers))
        assert spy(model) == [relus[n] for n in (4, 5) if n in layers]
        assert model.head.activation.alpha == (0.3 if 6 in layers else 0.0)


def test_a_layer_of_the_backbone_hands_on_peaks_alone():
    relu = torch.nn.ReLU()
    apply_after([relu], PeakAttention(0.5))
    assert relu(torch.tensor([[[[4.0, 1.9, 2.0, -3.0]]]])).tolist() == [[[[4.0, 0.0, 2.0, 0.0]]]]


@pytest.mark.parametrize(
    ("name", "blocks"), [("build_torchvision_resnet_backbone", 6), ("build_resnet_backbone", 6)]
)
def test_resnets_carry_pam_after_their_residual_blocks(name, blocks):
    model = build(
        "MODEL.BACKBONE.NAME", name,
        "MODEL.PAM.IN_FEATURE", "res5",
        "MODEL.RESNETS.OUT_FEATURES", "['res5']",
        "MODEL.PAM.LAYERS", "(4,)",
    )  # fmt: skip
    assert len(spy(model)) == blocks == len(layer_activations(model.backbone, 4))
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    assert model.eval()([{"image": image}])[0]["cams"].shape == (4, 2, 2)


def test_hrnet_carries_pam_in_the_head_only():
    hrnet = [
        "MODEL.BACKBONE.NAME", "build_hrnet_backbone",
        "MODEL.HRNET.ARCHITECTURE", "hrnet_w18_small",
        "MODEL.PAM.IN_FEATURE", "res2",
    ]  # fmt: skip
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    assert build(*hrnet).eval()([{"image": image}])[0]["cams"].shape == (4, 16, 16)
    # Sides that the branches do not fit each other at are resized up.
    assert build(*hrnet).eval()([{"image": image[:, :50]}])[0]["cams"].shape == (4, 16, 16)
    with pytest.raises(InputError, match=r"MODEL\.PAM\.LAYERS has 4, but hrnet_w18_small"):
        build(*hrnet, "MODEL.PAM.LAYERS", "(4,)")


def test_wrong_keys_are_named():
    with pytest.raises(InputError, match=r"MODEL\.PAM\.LAYERS is \(3,\); choose from"):
        build("MODEL.PAM.LAYERS", "(3,)")
    with pytest.raises(InputError, match=r"MODEL\.PAM\.IN_FEATURE is 'res9'; choose from"):
        build("MODEL.PAM.IN_FEATURE", "res9")
    with pytest.raises(InputError, match=r"MODEL\.VGG\.ARCHITECTURE is 'vgg11'; choose from"):
        build("MODEL.VGG.ARCHITECTURE", "vgg11")
    with pytest.raises(InputError, match=r"MODEL\.PAM\.HEAD_NORM is 'XX', expected '', 'BN' or"):
        build("MODEL.PAM.HEAD_NORM", "XX")
