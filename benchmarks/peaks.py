"""How much faster peak finding is than a max-pool over the full maps, on this machine.

    python benchmarks/peaks.py [--classes 20] [--height 375] [--width 500] [--kernel 15]
        [--repeat 5] [--json FILE]

Both run in turn, in this process, on the CPU, and must find the same peaks. Scenes: "realistic" has
blobs in three classes, as an image with three tags, and zeros elsewhere; "noise" has smoothed noise
in every class.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import cv2
import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor

from bestie_d2.ops.heatmap import draw_gaussians, find_peaks
from bestie_d2.structures import PointCues

THRESHOLD = 0.1  # MODEL.PAM.CUES.MIN_SCORE
MAX_PER_CLASS = 25  # MODEL.PAM.CUES.MAX_PER_CLASS
TAGGED = 3  # classes of the realistic scene
OBJECTS = 4  # blobs in each of them
BLOB = 1 / 12  # sigma of a blob, of the map's shorter side
SMOOTHING = 3  # side of the mean filter over the noise, in pixels
MILLISECONDS = 1e3


def realistic_scene(shape: tuple[int, int, int], random: torch.Generator) -> Tensor:
    """(C, H, W) with blobs of different heights in the first classes and zeros elsewhere."""
    heatmap = torch.zeros(shape)
    sigma = BLOB * min(shape[1:])
    for channel in heatmap[:TAGGED]:
        for _ in range(OBJECTS):
            place = torch.rand(2, generator=random) * torch.tensor(shape[1:])
            blob = torch.zeros(shape[1:])
            draw_gaussians(blob.numpy(), [tuple(place.int().tolist())], sigma)
            torch.maximum(channel, blob * torch.rand(1, generator=random), out=channel)
    return heatmap


def noise_scene(shape: tuple[int, int, int], random: torch.Generator) -> Tensor:
    """(C, H, W) of smoothed uniform noise: peaks everywhere, the worst case."""
    noise = torch.rand(shape, generator=random)
    return F.avg_pool2d(noise[None], SMOOTHING, 1, SMOOTHING // 2)[0]


SCENES = {"realistic": realistic_scene, "noise": noise_scene}


def peaks_by_max_pool(heatmap: Tensor, kernel: int) -> PointCues:
    """The plain way: pool the full maps, compare, and take the highest of each class."""
    pooled = F.max_pool2d(heatmap, kernel, stride=1, padding=kernel // 2)
    at_peak = (heatmap == pooled) & (heatmap >= THRESHOLD)
    yx, classes, scores = [], [], []
    for class_id, channel in enumerate(at_peak):
        places = channel.nonzero()
        values = heatmap[class_id][channel]
        highest = values.argsort(descending=True, stable=True)[:MAX_PER_CLASS]
        yx.append(places[highest].float())
        classes.append(torch.full((len(highest),), class_id))
        scores.append(values[highest])
    return PointCues(torch.cat(yx), torch.cat(classes), torch.cat(scores))


def check_equal(ours: PointCues, plain: PointCues) -> None:
    """Stop where the two differ; the scenes have no plateaus, of which we take one pixel only."""
    for name in ("yx", "classes", "scores"):
        if not torch.equal(getattr(ours, name), getattr(plain, name)):
            raise SystemExit(f"find_peaks and the max-pool differ in {name}")


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(heatmap: Tensor, kernel: int, repeat: int) -> dict[str, float]:
    """Median milliseconds of each, in turn so that all meet the same load, and the ratio."""

    def ours() -> PointCues:
        return find_peaks(heatmap, kernel=kernel, threshold=THRESHOLD, max_per_class=MAX_PER_CLASS)

    def pool() -> Tensor:
        return F.max_pool2d(heatmap, kernel, stride=1, padding=kernel // 2)

    def pool_and_select() -> PointCues:
        return peaks_by_max_pool(heatmap, kernel)

    found = ours()
    check_equal(found, pool_and_select())
    runs = {"ours": ours, "max_pool": pool, "max_pool_and_selection": pool_and_select}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            times[name].append(seconds(run))
    result = {name: MILLISECONDS * statistics.median(values) for name, values in times.items()}
    return {"peaks": len(found), **result, "ratio": result["max_pool"] / result["ours"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"classes": 20, "height": 375, "width": 500, "kernel": 15, "repeat": 5}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    shape = (arguments.classes, arguments.height, arguments.width)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = {}
    for name, scene in SCENES.items():
        heatmap = scene(shape, torch.Generator().manual_seed(0))
        results[name] = measure(heatmap, arguments.kernel, arguments.repeat)
    print(f"{shape[0]} classes, {shape[1]}x{shape[2]}, kernel {arguments.kernel}; milliseconds")
    rows = [{"scene": name, **figures} for name, figures in results.items()]
    print(tabulate(rows, headers="keys", floatfmt=".1f"))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({**vars(arguments), "scenes": results}, file, indent=1)


if __name__ == "__main__":
    main()
