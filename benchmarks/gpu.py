"""What refinement costs a training on this GPU: one command, under eight minutes.

    python benchmarks/gpu.py [--device cuda] [--steps 30] [--tiny] [--config-file FILE] [KEY VALUE]

Trains HRNet-48 on drawn scenes (416x416, batch 16, AMP) with refinement and without, in turn, and
prints images a second, how often a step waits for the GPU, and the most memory that was allocated.
``--tiny`` is a small network on small scenes, for trying the script itself on a processor.
"""

from __future__ import annotations

# First: it says how torch's threads wait, before torch is imported.
from bestie_d2.engine.configuration import load_config

# isort: split

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from scenes import make_scene
from tabulate import tabulate

from bestie_d2.engine.command_line import run_tool
from bestie_d2.labeling.transfer import Transfer
from bestie_d2.ops.components import find_components

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "bestie_voc.yaml"
TINY = ["MODEL.HRNET.ARCHITECTURE", "hrnet_w18_small", "MODEL.BESTIE.MIN_AREA", "10"]
OBJECTS = (1, 3, 8)  # of the batch's images, in turn
WARM_UP = 3  # steps before those that count
BATCHES = 3  # different ones, in turn
WITHOUT, WITH = "without refinement", "with"


def drawn_batch(cfg: CfgNode, images: int, side: int, seed: int) -> list[dict]:
    """Inputs as ``WeakInstanceMapper`` makes them."""
    batch = []
    for number in range(images):
        scene = make_scene(
            OBJECTS[number % len(OBJECTS)],
            (side, side),
            num_classes=cfg.MODEL.BESTIE.NUM_CLASSES,
            seed=seed * images + number,
        )
        weak = scene.weak_sem_seg.to(torch.uint8)
        tags = np.flatnonzero(scene.image_classes.numpy())
        components = find_components(weak.numpy(), tags, min_area=cfg.MODEL.BESTIE.MIN_AREA)
        labels = Transfer().label(components, components.count_cues(scene.cues) == 1)
        batch.append(
            {
                "image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8),
                "sem_seg": weak,
                "image_classes": scene.image_classes,
                "cues": scene.cues,
                "components": components,
                "pseudo_labels": labels,
                "scene": scene,
            }
        )
    return batch


def certain(maps: object, batch: list[dict]) -> object:
    """The network's maps with the scenes' values in them: an untrained network finds no center, so
    that there would be nothing to refine."""
    for name, source in (("sem_seg", "logits"), ("center", "center"), ("offset", "offset")):
        drawn = torch.stack([getattr(item["scene"], source) for item in batch])
        predicted = getattr(maps, name)
        drawn = drawn.to(predicted.device, predicted.dtype, non_blocking=True)
        setattr(maps, name, predicted * 0 + drawn)
    return maps


def steps(cfg: CfgNode, device: torch.device) -> Callable[[list[dict]], None]:
    """One training step of a fresh model."""
    model = build_model(cfg).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    head = model.head.forward

    def step(batch: list[dict]) -> None:
        model.head.forward = lambda *inputs: certain(head(*inputs), batch)
        with torch.autocast(device.type, enabled=device.type == "cuda"), EventStorage(0):
            loss = sum(model(batch).values())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def waits_of(run: Callable[[], None], device: torch.device) -> int:
    """How often the host waits for the GPU, as PyTorch tells; 0 on a processor."""
    if device.type != "cuda":
        run()
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in told)


def measure(
    runs: dict[str, Callable], batches: list[list[dict]], count: int, device: torch.device
) -> list[list[object]]:
    """A row of figures for each run; they take turns."""
    on_gpu = device.type == "cuda"
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    memory = dict.fromkeys(runs, 0.0)
    for number in range(WARM_UP + count):
        for name, run in runs.items():
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            start = time.perf_counter()
            run(batches[number % len(batches)])
            if on_gpu:
                torch.cuda.synchronize()
                memory[name] = max(memory[name], torch.cuda.max_memory_allocated() / 2**20)
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, run in runs.items():
        rate = len(batches[0]) / statistics.median(seconds[name])
        waits = waits_of(lambda run=run: run(batches[0]), device)
        rows.append([name, rate, waits, memory[name]])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=30, help="that count; default 30")
    parser.add_argument("--tiny", action="store_true", help="a small network and small scenes")
    parser.add_argument("--config-file", default=str(CONFIG))
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE")
    args = parser.parse_args()
    side, images = (64, 2) if args.tiny else (416, 16)
    common = ["MODEL.DEVICE", args.device, "MODEL.WEIGHTS", "", *(TINY if args.tiny else [])]
    configs = {
        name: load_config(
            args.config_file,
            [*common, "MODEL.BESTIE.REFINEMENT.ENABLED", str(name == WITH), *args.opts],
        )
        for name in (WITHOUT, WITH)
    }
    device = torch.device(args.device)
    batches = [drawn_batch(configs[WITH], images, side, seed) for seed in range(BATCHES)]
    runs = {name: steps(cfg, device) for name, cfg in configs.items()}
    rows = measure(runs, batches, args.steps, device)
    print(f"batch {images}, {side}x{side}, {args.device}, median of {args.steps} steps")
    print(tabulate(rows, ["training", "images/s", "waits a step", "MiB"], floatfmt=".1f"))
    print(f"refinement costs {100 * (1 - rows[1][1] / rows[0][1]):.1f} % of the images a second")


if __name__ == "__main__":
    run_tool(main)
