from pathlib import Path

import pytest
import torch

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.solver import build_adam, build_polynomial_schedule

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "Base-BESTIE.yaml"


def test_linear_warm_up_then_polynomial_decay():
    cfg = load_config(str(CONFIG), ["SOLVER.MAX_ITER", "100", "SOLVER.WARMUP_ITERS", "10"])
    optimizer = build_adam(cfg, torch.nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.Adam)
    schedule = build_polynomial_schedule(cfg, optimizer)
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


def test_the_released_schedule():
    cfg = load_config(str(CONFIG))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS) == (
        50000,
        16,
        2000,
    )
    assert cfg.SOLVER.BASE_LR == 5e-5
