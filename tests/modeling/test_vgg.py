from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from bestie_d2.errors import InputError
from bestie_d2.modeling.backbone import DilatedVGG

BLOCKS = ("block1", "block2", "block3", "block4", "block5")


def vgg(architecture: str, *out_features: str) -> DilatedVGG:
    return DilatedVGG(architecture=architecture, out_features=list(out_features or ["block5"]))


def test_vgg16_holds_torchvisions_convolutions_under_their_numbers():
    theirs = torchvision.models.vgg16(weights=None).features.state_dict()
    ours = vgg("vgg16").body.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_vgg16_has_the_released_pools_and_dilation():
    body = vgg("vgg16").body
    pools = [m for m in body if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding) for p in pools] == [(2, 2, 0)] * 3 + [(3, 1, 1)]
    convolutions = [m for m in body if isinstance(m, nn.Conv2d)]
    assert [c.dilation[0] for c in convolutions] == [1] * 10 + [2] * 3
    assert [c.padding[0] for c in convolutions] == [1] * 10 + [2] * 3


@pytest.mark.parametrize("architecture", ["vgg16", "vgg_small"])
def test_it_tells_the_truth_about_its_output(architecture):
    backbone = vgg(architecture, *BLOCKS).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes) == list(BLOCKS)
    for name, shape in shapes.items():
        assert features[name].shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)
    assert shapes["block5"].stride == {"vgg16": 8, "vgg_small": 4}[architecture]


def test_only_wanted_outputs_are_given():
    with torch.no_grad():
        assert list(vgg("vgg_small", "block5", "block3")(torch.zeros(1, 3, 32, 32))) == [
            "block3",
            "block5",
        ]
    with pytest.raises(InputError, match=r"MODEL\.VGG\.OUT_FEATURES has \['block9'\]; choose from"):
        vgg("vgg_small", "block9")


def test_nothing_behind_the_last_output_is_built():
    whole, part = vgg("vgg_small", "block3", "block5").eval(), vgg("vgg_small", "block3").eval()
    assert len(part.body) < len(whole.body)
    assert set(part.state_dict()) < set(whole.state_dict())
    part.load_state_dict(whole.state_dict(), strict=False)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert part(image)["block3"].equal(whole(image)["block3"])
    with pytest.raises(InputError, match=r"PAM\.LAYERS has 4, but .*VGG\.OUT_FEATURES ends at"):
        part.activations(4)


def test_activations_are_the_relus_of_a_block():
    backbone = vgg("vgg16")
    order = list(backbone.body)
    for layer, indices in {1: [1, 3], 4: [18, 20, 22], 5: [25, 27, 29]}.items():
        assert [order.index(m) for m in backbone.activations(layer)] == indices
