from pathlib import Path

import pytest
import timm
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone, build_model

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.modeling.backbone import TimmBackbone, TorchvisionResNet
from bestie_d2.modeling.layers import InterleavedConv2d
from bestie_d2.modeling.norms import freeze_batch_norms

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ALL = ["stem", "res2", "res3", "res4", "res5"]


@pytest.mark.parametrize(
    ("architecture", "channels"),
    [
        ("hrnet_w18_small", [64, 16, 32, 64, 128]),
        ("hrnet_w18", [64, 18, 36, 72, 144]),
        ("hrnet_w32", [64, 32, 64, 128, 256]),
        ("hrnet_w48", [64, 48, 96, 192, 384]),
    ],
)
def test_hrnet_tells_the_truth_about_its_outputs(architecture, channels):
    backbone = TimmBackbone(name=architecture, out_features=ALL, batch_norm_momentum=0.1).eval()
    assert_true_shapes(backbone)
    assert [s.channels for s in backbone.output_shape().values()] == channels
    assert [s.stride for s in backbone.output_shape().values()] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize("depth", [50, 101])
def test_resnet_tells_the_truth_about_its_outputs(depth):
    backbone = TorchvisionResNet(depth=depth, batch_norm_momentum=0.01).eval()
    assert_true_shapes(backbone)
    assert {m.momentum for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.01}


def assert_true_shapes(backbone):
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 128))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes)
    for name, feature in features.items():
        shape: ShapeSpec = shapes[name]
        assert feature.shape == (1, shape.channels, 64 // shape.stride, 128 // shape.stride)


def test_hrnet_builds_only_what_its_outputs_need():
    one = TimmBackbone(name="hrnet_w18_small", out_features=["res2"], batch_norm_momentum=0.1)
    everything = TimmBackbone(name="hrnet_w18_small", out_features=ALL, batch_norm_momentum=0.1)
    assert set(one.state_dict()) < set(everything.state_dict())
    one.load_state_dict(everything.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(image)["res2"], everything.eval()(image)["res2"])
    sum(f.sum() for f in one.train()(image).values()).backward()
    assert all(p.grad is not None for p in one.parameters())


@pytest.mark.parametrize("architecture", ["hrnet_w18_small", "hrnet_w18"])
@torch.no_grad()
def test_hrnet_tells_the_truth_about_the_sides_it_takes(architecture):
    for features in (["res2"], ALL):
        backbone = TimmBackbone(
            name=architecture, out_features=features, batch_norm_momentum=0.1
        ).eval()
        step = backbone.size_divisibility
        assert step == 32
        assert backbone(torch.zeros(1, 3, step, 3 * step))["res2"].shape[-2:] == (8, 24)
        with pytest.raises(RuntimeError):
            backbone(torch.zeros(1, 3, step, 3 * step + 16))


def test_backbones_are_registered():
    assert "build_hrnet_backbone" in BACKBONE_REGISTRY
    assert "build_torchvision_resnet_backbone" in BACKBONE_REGISTRY


def test_an_unknown_depth_is_an_input_error():
    with pytest.raises(InputError, match=r"DEPTH is 34; choose from \(50, 101\)"):
        TorchvisionResNet(depth=34, batch_norm_momentum=0.1)


def timm_config(*overrides):
    pairs = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_timm_backbone", *overrides]
    return load_config(str(CONFIGS / "bestie_shapes.yaml"), pairs)


# one of each way in which timm gives features
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("convnext_atto", [40, 80, 160, 320]),
        ("tf_efficientnet_lite0", [24, 40, 112, 320]),
        ("mobilenetv3_small_050", [8, 16, 24, 288]),
        ("regnetx_002", [24, 56, 152, 368]),
    ],
)
def test_any_timm_network_tells_the_truth_and_learns_as_a_whole(name, channels):
    cfg = timm_config("MODEL.TIMM.NAME", name, "MODEL.BESTIE.HEAD", "DualDecoderInstanceHead")
    model = build_model(cfg)
    assert_true_shapes(model.backbone.eval())
    assert [shape.channels for shape in model.backbone.output_shape().values()] == channels
    some = build_backbone(
        timm_config("MODEL.TIMM.NAME", name, "MODEL.TIMM.OUT_FEATURES", "['res3']")
    )
    sum(f.sum() for f in some.train()(torch.randn(2, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in some.parameters())
    dilated = build_backbone(timm_config("MODEL.TIMM.NAME", name, "MODEL.TIMM.OUTPUT_STRIDE", "16"))
    assert_true_shapes(dilated.eval())
    assert dilated.output_shape()["res5"].stride == 16


@pytest.mark.parametrize("names", [["res3", "res4", "res5"], ["res2", "res3", "res4", "res5"]])
def test_a_pyramid_over_a_timm_network_tells_the_truth(names):
    cfg = pyramid_config("MODEL.FPN.IN_FEATURES", str(names), "MODEL.FPN.OUT_CHANNELS", "24")
    pyramid = build_backbone(cfg)
    assert_true_shapes(pyramid.eval())
    levels = [f"p{name[-1]}" for name in names]
    assert list(pyramid.output_shape()) == [*levels, "p6"]
    assert {shape.channels for shape in pyramid.output_shape().values()} == {24}
    sum(f.sum() for f in pyramid.train()(torch.randn(2, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in pyramid.parameters())


def pyramid_config(*overrides):
    pair = ("MODEL.BACKBONE.NAME", "build_timm_fpn_backbone")
    return timm_config("MODEL.TIMM.NAME", "tf_efficientnet_lite0", *pair, *overrides)


@pytest.mark.parametrize(
    ("features", "output_stride", "line"),
    [
        ("[]", "32", r"MODEL\.FPN\.IN_FEATURES has nothing; choose from"),
        ("['p3']", "32", r"MODEL\.FPN\.IN_FEATURES has \['p3'\]; choose from"),
        ("['res3', 'res4']", "32", r"double up to 32, but .*give \{'res3': 8, 'res4': 16\}"),
        ("['res3', 'res5']", "32", r"double up to 32, but .*give \{'res3': 8, 'res5': 32\}"),
        ("['res4', 'res5']", "16", r"double up to 32, but .*give \{'res4': 16, 'res5': 16\}"),
    ],
)
def test_features_that_make_no_pyramid_are_an_input_error(features, output_stride, line):
    keys = ("MODEL.FPN.IN_FEATURES", features, "MODEL.TIMM.OUTPUT_STRIDE", output_stride)
    with pytest.raises(InputError, match=line):
        build_backbone(pyramid_config(*keys))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("MODEL.TIMM.NAME", "resnet9000"), r"timm gives no 'resnet9000'.*Unknown model"),
        (("MODEL.TIMM.NAME", "vit_tiny_patch16_224"), r"timm's 'vit_tiny.*no maps"),
        (("MODEL.TIMM.NAME", "swin_tiny_patch4_window7_224"), r"choose a convolutional network"),
        (("MODEL.TIMM.OUT_FEATURES", "['res1']"), r"OUT_FEATURES has \['res1'\]; choose from"),
        (
            ("MODEL.TIMM.NAME", "convnext_atto", "MODEL.TIMM.OUT_FEATURES", "['stem']"),
            "no 'convnext",
        ),
    ],
)
def test_a_timm_network_that_does_not_do_is_an_input_error(overrides, line):
    with pytest.raises(InputError, match=line):
        build_backbone(timm_config(*overrides))


def test_frozen_stages_keep_their_weights_and_norms():
    backbone = build_backbone(
        timm_config("MODEL.TIMM.NAME", "tf_efficientnet_lite0", "MODEL.TIMM.FREEZE_AT", "2")
    )
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.train()
    sum(f.square().mean() for f in backbone(torch.randn(2, 3, 32, 32)).values()).backward()
    torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0).step()
    changed = {
        ".".join(name.split(".")[:3]).removeprefix("body.")
        for name, value in backbone.state_dict().items()
        if not torch.equal(value, before[name])
    }
    # conv_stem, bn1 and blocks 0 are the stem's, blocks 1 are res2's
    assert changed == {f"blocks.{stage}" for stage in range(2, 7)}


def test_stages_of_a_network_that_timm_flattens_are_frozen():
    backbone = build_backbone(
        timm_config("MODEL.TIMM.NAME", "convnext_atto", "MODEL.TIMM.FREEZE_AT", "3")
    )
    learn = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert learn == {"stages_2", "stages_3"}


def test_peak_attention_follows_the_activations_of_a_stage():
    backbone = TimmBackbone(
        name="tf_efficientnet_lite0", out_features=["res5"], batch_norm_momentum=0.1
    )
    # 4 and 1 inverted residuals of stride 32, with an activation after two of their convolutions
    assert len(backbone.activations(5)) == 10
    assert len(backbone.activations(4)) == 12  # 3 and 3 of stride 16
    assert {type(module) for module in backbone.activations(5)} == {torch.nn.ReLU6}
    hrnet = TimmBackbone(name="hrnet_w18_small", out_features=["res2"], batch_norm_momentum=0.1)
    with pytest.raises(InputError, match=r"PAM.LAYERS has 5, but hrnet_w18_small has no such"):
        hrnet.activations(5)


@pytest.mark.parametrize(
    ("name", "layer", "found"),
    [
        ("convnext_atto", 4, 6),
        ("convnext_atto", 5, "convnext_atto is built as deep as res4 needs it"),
        # its own stand behind linear layers, where channels come last
        ("edgenext_xx_small", 4, "edgenext_xx_small has no activations of maps"),
    ],
)
def test_peak_attention_follows_timms_own_activations_or_says_that_it_cannot(name, layer, found):
    backbone = TimmBackbone(name=name, out_features=["res4"], batch_norm_momentum=0.1)
    if isinstance(found, int):
        activations = backbone.activations(layer)
        assert [type(module) for module in activations] == [timm.layers.GELU] * found
    else:
        with pytest.raises(InputError, match=rf"MODEL\.PAM\.LAYERS has {layer}, but {found}"):
            backbone.activations(layer)


def test_frozen_norms_leave_the_weights_free():
    backbone = build_backbone(
        timm_config("MODEL.TIMM.NAME", "tf_efficientnet_lite0", "MODEL.TIMM.FREEZE_NORM", "True")
    )
    freeze_batch_norms(backbone)  # again changes nothing
    learn = {name.split(".")[-2] for name, p in backbone.named_parameters() if p.requires_grad}
    assert learn == {"conv_stem", "conv_dw", "conv_pw", "conv_pwl"}


@pytest.mark.parametrize("name", ["hrnet_w18", "convnext_atto"])
def test_stages_that_cannot_be_frozen_are_an_input_error(name):
    with pytest.raises(InputError, match=rf"FREEZE_AT is 1, but {name} has no such stage"):
        build_backbone(timm_config("MODEL.TIMM.NAME", name, "MODEL.TIMM.FREEZE_AT", "1"))


@pytest.mark.parametrize("stages", ["-1", "6"])
def test_a_number_of_no_stage_is_an_input_error(stages):
    with pytest.raises(InputError, match=rf"MODEL\.TIMM\.FREEZE_AT is {stages}; choose from"):
        build_backbone(timm_config("MODEL.TIMM.FREEZE_AT", stages))


@pytest.mark.parametrize(("dilation", "kernel"), [(2, 3), (2, 5), (4, 3)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_interleaved_convolution_is_the_dilated_one(dilation, kernel, channels_last):
    padding = dilation * (kernel // 2)
    plain = torch.nn.Conv2d(8, 8, kernel, padding=padding, dilation=dilation, groups=8).double()
    assert InterleavedConv2d.suits(plain)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    image = torch.randn(2, 8, 11, 13).double().to(memory_format=memory).requires_grad_()
    values = []
    for kind in (torch.nn.Conv2d, InterleavedConv2d):
        plain.__class__ = kind
        out = plain(image)
        image.grad = plain.weight.grad = None
        out.square().sum().backward()
        values.append((out.detach(), image.grad, plain.weight.grad))
    torch.testing.assert_close(values[0], values[1])


def test_only_dilated_depthwise_convolutions_are_interleaved():
    def suits(*args, **kwargs):
        return InterleavedConv2d.suits(torch.nn.Conv2d(8, 8, *args, **kwargs))

    assert not suits(3, padding=1, groups=8)
    assert not suits(3, padding=2, dilation=2)
    assert not suits(3, padding=1, dilation=2, groups=8)
    assert not suits(3, padding=2, dilation=2, groups=8, stride=2)


def test_heads_name_the_features_that_a_backbone_lacks():
    cfg = timm_config(
        "MODEL.TIMM.NAME", "convnext_atto", "MODEL.TIMM.OUT_FEATURES", "['res3', 'res5']"
    )
    with pytest.raises(InputError, match=r"HEAD needs res2, but the backbone gives res3, res5"):
        build_model(cfg)
