"""The training step: what it writes, when it reads losses, and in which precision it computes."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage, get_event_storage
from fvcore.common.checkpoint import Checkpointer
from torch import nn
from torch.utils.data import DataLoader

from bestie_d2.checks.training import check_config
from bestie_d2.engine import training_step
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.solver import build_optimizer
from bestie_d2.engine.training_step import TrainingStep, autocast_dtype
from bestie_d2.errors import InputError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "bestie_shapes.yaml"
FIRST_SEED_OF_5 = 12631478326263854183  # of seed 5 and iteration 0, in the first process


class Line(nn.Module):
    """Loses its weight times the value of a batch; notes what it computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.layer.weight)
        self.seen: list[torch.dtype] = []

    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        out = self.layer(torch.tensor([batch[0]["value"]]))
        self.seen.append(out.dtype)
        return {"loss_a": out.float().sum(), "loss_b": out.float().sum() * 0 + 1}


def run(
    data: list[float],
    model: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    **changes: object,
) -> tuple[TrainingStep, dict[int, dict[str, list[float]]]]:
    """Train on the data, by default with learning rate 0; the values that were written, by the
    iteration where they were, and by name."""
    model = model or Line()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.0)
    settings = {
        "seed": -1,
        "precision": None,
        "checkpoint_period": 1000,
        "last": len(data) - 1,
        **changes,
    }
    # A batch of two pictures for each value: 0.png and 0b.png, and so on.
    pictures = [[f"{i}.png", f"{i}b.png"] for i in range(len(data))]
    batches = [
        [{"file_name": name, "value": value} for name in names]
        for value, names in zip(data, pictures, strict=True)
    ]
    step = TrainingStep(model, batches, optimizer, **settings)
    written: dict[int, dict[str, list[float]]] = {}
    with EventStorage(0) as storage:
        for iteration in range(len(data)):
            step.iter = iteration
            step.run_step()
            for name, history in get_event_storage().histories().items():
                values = [value for value, at in history.values() if at == iteration]
                if values:
                    written.setdefault(iteration, {})[name] = values
            storage.step()
    return step, written


def test_losses_of_all_steps_are_written_every_twenty_and_at_the_end():
    _, written = run([float(value) for value in range(23)])
    assert list(written) == [19, 22]
    assert written[19]["loss_a"] == list(range(20))
    assert written[22]["loss_a"] == [20, 21, 22]
    assert written[22]["total_loss"] == [21, 22, 23]
    assert len(written[19]["data_time"]) == 20


def test_losses_are_looked_at_before_weights_are_saved():
    _, written = run([1.0] * 10, checkpoint_period=4)
    assert list(written) == [3, 7, 9]


def test_a_loss_that_is_no_number_is_told_with_its_iteration_and_pictures():
    with pytest.raises(InputError) as told:
        run([1.0, float("nan"), 1.0, 1.0], checkpoint_period=4)
    assert str(told.value) == (
        "a loss became infinite or NaN at iteration 1: {'loss_a': nan, 'loss_b': nan}, of the "
        "pictures 1.png, 1b.png; look at them, or lower SOLVER.BASE_LR, and go on from the last "
        "checkpoint with --resume"
    )


def test_random_numbers_of_an_iteration_follow_from_the_seed():
    drawn = []

    class Dice(Line):
        def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
            drawn.append(torch.rand(()).item())
            return super().forward(batch)

    for seed in (5, 5, 6):
        run([1.0, 1.0], seed=seed, model=Dice())
        torch.rand(3)
    assert drawn[0:2] == drawn[2:4]
    assert len(set(drawn)) == 4  # two iterations, two seeds


def test_random_numbers_differ_between_processes(monkeypatch):
    drawn = []

    class Dice(Line):
        def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
            drawn.append(torch.rand(()).item())
            return super().forward(batch)

    for rank in (0, 1, 2):
        monkeypatch.setattr(training_step.comm, "get_rank", lambda rank=rank: rank)
        run([1.0], seed=5, model=Dice())
    assert len(set(drawn)) == 3
    torch.manual_seed(FIRST_SEED_OF_5)  # what the first process has always started from
    assert drawn[0] == torch.rand(()).item()


@pytest.mark.parametrize("adam", [True, False])
def test_scaled_gradients_are_clipped_as_what_they_are(adam):
    cfg = config(
        "SOLVER.ADAM", str(adam),
        "SOLVER.CLIP_GRADIENTS.ENABLED", "True",
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value",
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.5",
        "SOLVER.WEIGHT_DECAY", "0",
    )  # fmt: skip
    model = Line()
    optimizer = build_optimizer(cfg, model)
    # The first step is left out: its scale of 2 ** 16 is too large for float16.
    step, _ = run([1.0, 1.0], model=model, optimizer=optimizer, precision=torch.float16)
    assert step.grad_scaler.get_scale() == 2**15
    (state,) = optimizer.state.values()
    first_moment = state["exp_avg"] / 0.1 if adam else state["momentum_buffer"]
    assert first_moment.item() == pytest.approx(0.5)


def test_the_workers_of_a_loader_end_when_another_takes_its_place():
    def loader() -> DataLoader:
        return DataLoader(torch.zeros(8, 1), num_workers=1)

    others = set(multiprocessing.active_children())
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    settings = {"seed": -1, "precision": None, "checkpoint_period": 9, "last": 9}
    step = TrainingStep(model, loader(), optimizer, **settings)
    assert set(multiprocessing.active_children()) == others  # nobody has asked for a batch
    step.next_batch()
    (first,) = set(multiprocessing.active_children()) - others
    step.reset_data_loader(loader)
    step.next_batch()
    (second,) = set(multiprocessing.active_children()) - others
    assert second is not first
    assert not first.is_alive()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_precision(dtype):
    step, _ = run([1.0, 2.0], precision=dtype)
    assert step.model.seen == [dtype or torch.float32] * 2


def test_its_state_is_that_of_detectron2s_step():
    step, _ = run([1.0])
    state = step.state_dict()
    assert state["iteration"] == 0
    other, _ = run([1.0, 2.0])
    del state["grad_scaler"]  # as a checkpoint of Detectron2's own step has it
    other.load_state_dict(state)
    assert other.iter == 0


def test_the_scale_of_gradients_goes_into_a_checkpoint_and_comes_back(tmp_path):
    step, _ = run([1.0], precision=torch.float16)
    assert step.grad_scaler.get_scale() == 2**15  # 2 ** 16 is none of float16: halved
    Checkpointer(nn.Module(), str(tmp_path), trainer=step).save("half")
    other, _ = run([], precision=torch.float16)
    assert other.grad_scaler.get_scale() == 2**16
    Checkpointer(nn.Module(), trainer=other).load(str(tmp_path / "half.pth"))
    assert other.grad_scaler.get_scale() == 2**15
    plain, _ = run([1.0])
    Checkpointer(nn.Module(), str(tmp_path), trainer=plain).save("single")
    Checkpointer(nn.Module(), trainer=other).load(str(tmp_path / "single.pth"))
    assert other.grad_scaler.get_scale() == 2**15  # nothing is known of it there


def config(*opts: str):
    return load_config(str(CONFIG), ["MODEL.DEVICE", "cpu", *opts])


def test_a_processor_without_bfloat16_computes_in_float32(monkeypatch, caplog):
    amp = config("SOLVER.AMP.ENABLED", "True")
    for able, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(training_step, "cpu_has_bfloat16", lambda able=able: able)
        with caplog.at_level(logging.WARNING, logger=training_step.__name__):
            assert autocast_dtype(amp) == expected
    assert [record.getMessage() for record in caplog.records] == [
        "this processor has no instructions for bfloat16: training in float32"
    ]
    assert autocast_dtype(config()) is None


@pytest.mark.parametrize(
    ("dtype", "line"),
    [("float16", "there is no GPU: use 'bfloat16'"), ("float8", "'float8', expected bfloat16 or")],
)
def test_a_wrong_precision_is_refused(dtype, line):
    with pytest.raises(InputError) as told:
        check_config(config("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", dtype))
    assert line in str(told.value)
