from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.solver import build_lr_scheduler, build_optimizer, parameter_groups
from bestie_d2.errors import InputError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "Base-BESTIE.yaml"


def test_linear_warm_up_then_polynomial_decay():
    cfg = load_config(str(CONFIG), ["SOLVER.MAX_ITER", "100", "SOLVER.WARMUP_ITERS", "10"])
    optimizer = build_optimizer(cfg, torch.nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.Adam)
    schedule = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    base = 5e-5
    assert rates[0] == pytest.approx(0.001 * base)
    end_of_warm_up = 0.9**0.9
    assert rates[5] == pytest.approx(base * (0.001 + (end_of_warm_up - 0.001) * 0.5))
    for step in (10, 50, 99):
        assert rates[step] == pytest.approx(base * (1 - step / 100) ** 0.9)


def test_an_unknown_schedule_is_told():
    cfg = load_config("", ["SOLVER.LR_SCHEDULER_NAME", "Foo"])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(InputError, match=r"^SOLVER\.LR_SCHEDULER_NAME is 'Foo', expected Warm"):
        build_lr_scheduler(cfg, optimizer)


def test_the_released_schedule():
    cfg = load_config(str(CONFIG))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS) == (
        50000,
        16,
        2000,
    )
    assert cfg.SOLVER.BASE_LR == 5e-5


def test_the_released_groups_of_the_classifier():
    cfg = load_config(str(CONFIG.with_name("pam_voc.yaml")), ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert set(rates) == set(names.values())
    expected = {("backbone", "weight"): 1e-3, ("backbone", "bias"): 2e-3}
    expected |= {("head", "weight"): 1e-2, ("head", "bias"): 2e-2}
    for name, rate in rates.items():
        assert rate == pytest.approx(expected[name.split(".")[0], name.split(".")[-1]])
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)


def test_the_released_epochs_of_the_classifier():
    cfg = load_config(str(CONFIG.with_name("pam_voc.yaml")))
    epochs = cfg.SOLVER.IMS_PER_BATCH / 10582
    assert [step * epochs for step in cfg.SOLVER.STEPS] == [5, 10]
    assert cfg.SOLVER.MAX_ITER * epochs == 15


class WithOwnParameter(torch.nn.Module):
    """A backbone, a head that shares a tensor with it, and a parameter of the model itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.backbone = torch.nn.Linear(2, 2)
        self.head = torch.nn.Linear(2, 2)
        self.head.weight = self.backbone.weight


def test_the_head_is_all_but_the_backbone():
    cfg = load_config("", ["SOLVER.HEAD_LR_FACTOR", "10", "SOLVER.BASE_LR", "0.5"])
    model = WithOwnParameter()
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(cfg, model)
    build_optimizer(cfg, model)  # refuses a parameter that comes twice
    rates = {names[p]: group["lr"] for group in groups for p in group["params"]}
    assert rates == {"backbone.weight": 0.5, "backbone.bias": 0.5, "scale": 5.0, "head.bias": 5.0}
    assert list(rates) == ["backbone.weight", "backbone.bias", "scale", "head.bias"]


def test_the_layers_of_a_feature_pyramid_are_no_backbone():
    cfg = load_config("", ["SOLVER.HEAD_LR_FACTOR", "10", "SOLVER.BASE_LR", "0.5"])
    model, pyramid = torch.nn.Module(), torch.nn.Module()
    model.backbone, model.head = pyramid, torch.nn.Linear(2, 2, bias=False)
    pyramid.lateral, pyramid.bottom_up = (torch.nn.Linear(2, 2, bias=False) for _ in range(2))
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[p]: g["lr"] for g in parameter_groups(cfg, model) for p in g["params"]}
    network = "backbone.bottom_up.weight"
    assert rates == {network: 0.5, "backbone.lateral.weight": 5.0, "head.weight": 5.0}


def test_a_head_factor_needs_a_backbone():
    linear = torch.nn.Linear(2, 2)
    assert len(parameter_groups(load_config(), linear)) == 1
    with pytest.raises(InputError, match=r"SOLVER\.HEAD_LR_FACTOR is 2\.0, but .* set it to 1"):
        parameter_groups(load_config("", ["SOLVER.HEAD_LR_FACTOR", "2"]), linear)


@pytest.mark.parametrize(("clip_type", "clipped"), [("value", [3.0, 3.5]), ("norm", [2.1, 2.8])])
@pytest.mark.parametrize("adam", [True, False])
def test_gradients_are_clipped(adam, clip_type, clipped):
    cfg = load_config("", ["SOLVER.ADAM", str(adam), *clipping(clip_type, "3.5")])
    layer = torch.nn.Linear(2, 1, bias=False)
    optimizer = build_optimizer(cfg, layer)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    optimizer.step()
    (state,) = optimizer.state.values()
    first_moment = state["exp_avg"] / 0.1 if adam else state["momentum_buffer"]
    assert first_moment[0].tolist() == pytest.approx(clipped)


def clipping(clip_type: str, value: str) -> list[str]:
    return [
        "SOLVER.CLIP_GRADIENTS.ENABLED", "True",
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", clip_type,
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", value,
        "SOLVER.WEIGHT_DECAY", "0",
    ]  # fmt: skip
