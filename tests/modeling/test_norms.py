"""Batch norms that carry an activation keep it when they are frozen or synchronized."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from timm.layers import BatchNormAct2d, GroupNormAct
from torch import nn

from bestie_d2.errors import InputError
from bestie_d2.modeling.norms import SharedBatchNormAct, freeze_batch_norms, synchronize_batch_norms

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FEATURES = ("res2", "res5")


class EfficientNetLite(Backbone):
    """EfficientNet-Lite, whose norms are followed by ReLU6 inside themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model(
            "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(1, 4)
        )
        self._out_features = list(FEATURES)
        info = self.body.feature_info
        self._out_feature_channels = dict(zip(FEATURES, info.channels(), strict=True))
        self._out_feature_strides = dict(zip(FEATURES, info.reduction(), strict=True))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(FEATURES, self.body(images), strict=True))


@pytest.fixture
def backbone_name():
    name = "build_backbone_of_timm"
    BACKBONE_REGISTRY._do_register(name, lambda cfg, input_shape: EfficientNetLite())
    yield name
    del BACKBONE_REGISTRY._obj_map[name]


def used(module: nn.Module) -> nn.Module:
    """The module after some training steps: its norms' values are no longer those of the start."""
    torch.manual_seed(3)
    module.train()
    for _ in range(2):
        module(torch.rand(2, 3, 32, 32) * 3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return module


def statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items() if "running" in k}


@torch.no_grad()
def test_a_frozen_network_computes_what_it_computes_in_eval_mode():
    network, image = used(EfficientNetLite()), torch.rand(1, 3, 64, 64)
    names = set(network.state_dict())
    expected = copy.deepcopy(network).eval()(image)
    frozen = freeze_batch_norms(network).train()
    before = statistics(frozen)
    for name, feature in frozen(image).items():
        torch.testing.assert_close(feature, expected[name])
    assert before.keys() == statistics(frozen).keys()
    assert all(torch.equal(before[key], value) for key, value in statistics(frozen).items())
    assert {n for n in names if not n.endswith("num_batches_tracked")} <= set(frozen.state_dict())


@torch.no_grad()
def test_the_activation_of_a_frozen_norm_is_there():
    norm = BatchNormAct2d(2, act_layer=nn.ReLU, drop_layer=nn.Dropout)
    norm.weight.copy_(torch.tensor([1.0, 2.0]))
    norm.running_mean.copy_(torch.tensor([1.0, 0.0]))
    frozen = freeze_batch_norms(nn.Sequential(norm)).train()
    assert frozen[0].drop.training  # dropout drops
    assert not frozen[0].training
    frozen[0].drop.p = 0.0
    image = torch.tensor([0.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert frozen(image)[0, :, 0, 0].tolist() == pytest.approx([0.0, 6.0], rel=1e-4)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert copy.deepcopy(frozen).train()(image).equal(frozen(image))


def test_a_plain_norm_is_frozen_as_detectron2_freezes_it():
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    frozen = freeze_batch_norms(plain)
    assert type(frozen[1]) is FrozenBatchNorm2d
    norm = {f"1.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert set(frozen.state_dict()) == {"0.weight", "0.bias", *norm}
    assert freeze_batch_norms(frozen)[1] is frozen[1]


def test_what_is_frozen_already_is_left():
    layers = freeze_batch_norms(nn.Sequential(BatchNormAct2d(4), nn.BatchNorm2d(4)))
    kept = list(layers)
    assert list(freeze_batch_norms(layers)) == kept


def test_norms_that_need_no_freezing_are_left_and_others_refused():
    layers = nn.Sequential(GroupNormAct(4, 2), nn.LayerNorm(4))
    kept = list(layers)
    assert list(freeze_batch_norms(layers)) == kept
    with pytest.raises(InputError, match=r"FREEZE_BACKBONE_NORM to False") as told:
        freeze_batch_norms(nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False)))
    assert "a BatchNorm2d of the backbone has no running statistics" in str(told.value)


def test_a_frozen_backbone_of_the_wsss_network_is_right(tiny_config, backbone_name):
    cfg = tiny_config(
        CONFIGS / "wsss_voc.yaml",
        "MODEL.BACKBONE.NAME", backbone_name,
        "MODEL.WSSS.HEAD_CHANNELS", "8",
    )  # fmt: skip
    model = build_model(cfg).train()
    norms = [m for m in model.backbone.modules() if isinstance(m, BatchNormAct2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    seen = []
    norms[0].register_forward_hook(lambda norm, inputs, output: seen.append(output))
    model.backbone(torch.randn(1, 3, 64, 64))
    assert seen[0].min() == 0


@torch.no_grad()
def test_a_synchronized_network_computes_the_same_in_eval_mode():
    network, image = used(EfficientNetLite()), torch.rand(1, 3, 64, 64)
    expected = copy.deepcopy(network).eval()(image)
    names = list(network.state_dict())
    synchronized = synchronize_batch_norms(network).eval()
    norms = [m for m in synchronized.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert list(synchronized.state_dict()) == names
    for name, feature in synchronized(image).items():
        torch.testing.assert_close(feature, expected[name])


def test_a_network_synchronized_on_the_processor_trains_as_before():
    """In one process; tests/engine/test_distributed.py has two."""
    network, images = used(EfficientNetLite()), torch.rand(2, 3, 64, 64)
    shared = synchronize_batch_norms(copy.deepcopy(network), on_cpu=True).train()
    assert any(type(module) is SharedBatchNormAct for module in shared.modules())
    assert list(shared.state_dict()) == list(network.state_dict())
    expected, found = network.train()(images), shared(images)
    for features, others in zip(expected.values(), found.values(), strict=True):
        torch.testing.assert_close(features, others, rtol=1e-3, atol=1e-3)
    for name, value in statistics(network).items():
        torch.testing.assert_close(statistics(shared)[name], value, rtol=1e-3, atol=1e-3)


def test_a_shared_norm_of_values_that_hardly_differ_is_finite():
    torch.manual_seed(0)
    images = 1000 + torch.rand(2, 8, 16, 16) * 1e-3
    norm = synchronize_batch_norms(nn.BatchNorm2d(8), on_cpu=True).train()
    assert torch.isfinite(norm(images)).all()
    assert (norm.running_var > 0).all()


def test_frozen_norms_are_not_synchronized():
    layers = nn.Sequential(BatchNormAct2d(4), nn.BatchNorm2d(4))
    frozen = list(freeze_batch_norms(layers))
    assert list(synchronize_batch_norms(layers)) == frozen


def test_an_unknown_batch_norm_is_not_synchronized():
    class Doubled(nn.BatchNorm2d):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(features)

    with pytest.raises(InputError, match="a Doubled of the model cannot be synchronized"):
        synchronize_batch_norms(nn.Sequential(Doubled(4)))
