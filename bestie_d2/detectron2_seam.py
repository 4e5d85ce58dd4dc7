"""What Detectron2's newest sources have and its release 0.6, or the pure-Python build, lacks.

All else that is used has one form in all of them, as long as `ShapeSpec` is read by attribute and
`ImageList.from_tensors` gets `tensors`, `size_divisibility` and `pad_value` only.
"""

from collections.abc import Callable, Iterable, Iterator

from detectron2 import engine
from torch import nn
from torch.optim import Optimizer


def has_compiled_operators() -> bool:
    """Whether this Detectron2 was built with its C++ and CUDA operators, such as the fast COCO
    evaluation: release 0.6 fails where it is asked for and not built, main falls back by itself."""
    try:
        from detectron2 import _C
    except ImportError:
        return False
    return not getattr(_C, "PURE_PYTHON", False)


class SimpleTrainer(engine.SimpleTrainer):
    """A step whose batches begin when the first is asked for, so that others can take their place:
    release 0.6 starts the loader's workers at once."""

    def __init__(self, model: nn.Module, data_loader: Iterable, optimizer: Optimizer) -> None:
        super().__init__(model, (), optimizer)
        self.data_loader = data_loader
        self._batches: Iterator | None = None

    def next_batch(self) -> list[dict]:
        if self._batches is None:
            self._batches = iter(self.data_loader)
        return next(self._batches)

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable]) -> None:
        """Take the next batches from another loader; the workers of the one before end."""
        self._batches = None
        self.data_loader = data_loader_builder()


class DefaultTrainer(engine.DefaultTrainer):
    """With the optimizer in its checkpoints: without, Adam's moments would start anew."""

    def state_dict(self) -> dict:
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if "_trainer" in state_dict:
            self._trainer.load_state_dict(state_dict["_trainer"])
