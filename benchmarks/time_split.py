"""Where the time goes of a training step, and of inference on an image."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from measuring import MILLISECONDS
from torch.profiler import ProfilerActivity, profile

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer, load_trained_model
from bestie_d2.engine.training_step import autocast_dtype
from bestie_d2.labeling.decode import group_instances

WARM_UP = 2  # steps or images before those that count
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")  # the profiler has one for the device


class Stopwatch:
    """Milliseconds by stage; on a GPU by its own clock, read once at the end."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self._stages: list[tuple[str, object, object]] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = self._now()
        yield
        self._stages.append((name, start, self._now()))

    def _now(self) -> torch.cuda.Event | float:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def totals(self) -> dict[str, float]:
        """Milliseconds by stage since the last reading."""
        if self.on_gpu:
            torch.cuda.synchronize()
        totals: dict[str, float] = {}
        for name, start, end in self._stages:
            spent = start.elapsed_time(end) if self.on_gpu else MILLISECONDS * (end - start)
            totals[name] = totals.get(name, 0.0) + spent
        self._stages.clear()
        return totals


def split_of_step(config_file: str, overrides: list[str], steps: int) -> dict[str, float]:
    """Mean milliseconds of each stage, and on a GPU how often a step waits for it."""
    cfg = load_config(config_file, overrides)
    run, watch = _prepare(cfg)
    with EventStorage(start_iter=cfg.MODEL.BESTIE.REFINEMENT.START_ITER):
        for _ in range(WARM_UP):
            run()
        watch.totals()
        for _ in range(steps):
            run()
        totals = watch.totals()
        totals["forward"] -= totals.setdefault("refinement", 0.0)
        split = {name: spent / steps for name, spent in totals.items()}
        if watch.on_gpu:
            split["waits"] = _count_waits(run)
    return split


def _prepare(cfg: CfgNode) -> tuple[Callable[[], None], Stopwatch]:
    """One training step, whose stages the stopwatch times."""
    model = Trainer.build_model(cfg).train()
    optimizer = Trainer.build_optimizer(cfg, model)
    batches = iter(Trainer.build_train_loader(cfg))
    watch = Stopwatch(model.device)
    refine = model.criterion.refinement

    def timed_refinement(*labels: object) -> object:
        with watch.stage("refinement"):
            return refine(*labels)

    if refine is not None:
        model.criterion.refinement = timed_refinement
    dtype = autocast_dtype(cfg)

    def run() -> None:
        with watch.stage("data"):
            batch = next(batches)
        with (
            watch.stage("forward"),
            torch.autocast(model.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            loss = sum(model(batch).values())
        optimizer.zero_grad()
        with watch.stage("backward"):
            loss.backward()
        with watch.stage("optimizer"):
            optimizer.step()

    return run, watch


def _count_waits(run: Callable[[], None]) -> int:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
    return sum(event.count for event in profiler.key_averages() if event.key in WAITS)


@torch.no_grad()
def split_of_inference(config_file: str, overrides: list[str], images: int) -> dict[str, float]:
    """Mean milliseconds of the network's maps and of grouping, and images a second, for images of
    the test set, one at a time.

    The network has the weights of ``MODEL.WEIGHTS``; without any it finds little to group.
    """
    cfg = load_config(config_file, overrides)
    model = load_trained_model(cfg)[0] if cfg.MODEL.WEIGHTS else Trainer.build_model(cfg)
    model.eval()
    watch = Stopwatch(model.device)
    loader = Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
    for number, (item,) in enumerate(itertools.islice(loader, WARM_UP + images)):
        if number == WARM_UP:
            watch.totals()
        with watch.stage("maps"):
            maps = model.predict_maps(item["image"], (item["height"], item["width"]))
        with watch.stage("grouping"):
            group_instances(*maps, **model.grouping)
    split = {name: spent / images for name, spent in watch.totals().items()}
    return {**split, "images/s": MILLISECONDS / sum(split.values())}
