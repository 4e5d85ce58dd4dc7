import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY

from bestie_d2.errors import InputError
from bestie_d2.modeling.backbone import HRNet, TorchvisionResNet

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
    backbone = HRNet(architecture=architecture, out_features=ALL, batch_norm_momentum=0.1).eval()
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
        features = backbone(torch.zeros(1, 3, 64, 96))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes)
    for name, feature in features.items():
        shape: ShapeSpec = shapes[name]
        assert feature.shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)


def test_hrnet_builds_only_what_its_outputs_need():
    one = HRNet(architecture="hrnet_w18_small", out_features=["res2"], batch_norm_momentum=0.1)
    everything = HRNet(architecture="hrnet_w18_small", out_features=ALL, batch_norm_momentum=0.1)
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
        backbone = HRNet(
            architecture=architecture, out_features=features, batch_norm_momentum=0.1
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
    with pytest.raises(InputError, match=r"DEPTH is 34; choose from \[50, 101\]"):
        TorchvisionResNet(depth=34, batch_norm_momentum=0.1)
