"""How fast label making and decoding are on this machine, beside the plain way.

    python benchmarks/run.py
        [--only refinement,decoding,transfer,peaks,losses,growth,loader,training,inference]
        [--repeat 5] [--threads 2] [--json FILE] [--config-file FILE] [KEY VALUE ...]

Ours and the reference run in turn in this process, on the CPU, and must agree. Times are medians,
for one image. Growth with instances is that of the functions that are measured too.
"""

from __future__ import annotations

# First: it says how torch's threads wait, before torch is imported.
from bestie_d2.engine.command_line import run_tool
from bestie_d2.engine.configuration import load_config

# isort: split

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cases
import cv2
import loader
import torch
from measuring import growth, median_times, peak_mib
from tabulate import tabulate
from time_split import split_of_inference, split_of_step

FUNCTIONS = ("refinement", "decoding", "transfer", "peaks", "losses")
PARTS = (*FUNCTIONS, "growth", "loader", "training", "inference")
CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LOADER_CONFIG, TRAINING_CONFIG = CONFIGS / "bestie_voc.yaml", CONFIGS / "bestie_shapes.yaml"
WORKERS = (1, 2)  # processes that load
INSTANCES = 8  # of the scenes that grow
TRAINING_STEPS = 5
TEST_IMAGES = 20


def measure(case: cases.Case, repeat: int) -> dict[str, object]:
    """A line of the table.

    Raises:
        AssertionError: ours and the reference differ.
    """
    case.check(case.ours(), case.plain())
    times = median_times({"ours": case.ours, "reference": case.plain}, repeat)
    ours, plain = (times[name] / case.images for name in ("ours", "reference"))
    return {
        "function": case.function,
        "scene": case.scene,
        "instances": case.amount,
        "ours_ms": ours,
        "reference_ms": plain,
        "ratio": plain / ours,
        "ours_peak_mib": peak_mib(case.ours),
        "reference_peak_mib": peak_mib(case.plain),
    }


def growth_with_instances(rows: list[dict]) -> list[dict[str, object]]:
    """Slopes of time over instances, from the lines of separate ones."""
    found = []
    for function in FUNCTIONS:
        apart = [r for r in rows if r["function"] == function and "separate" in r["scene"]]
        if len(apart) < 2:
            continue
        amounts = [row["instances"] for row in apart]
        slopes = {
            name: growth(amounts, [row[f"{name}_ms"] for row in apart])
            for name in ("ours", "reference")
        }
        found.append({"function": function, "grows_with": "instances", **slopes})
    return found


def growth_with_pixels(repeat: int) -> list[dict[str, object]]:
    """Slopes of our time over pixels, and the peak memory at the largest size."""
    found = []
    for function in (cases.refinement, cases.decoding, cases.transfer):
        amounts, times = [], []
        for pixels, case in cases.sizes(function, INSTANCES):
            amounts.append(pixels)
            times.append(median_times({"ours": case.ours}, repeat)["ours"])
        row = {"function": case.function, "grows_with": "pixels", "ours": growth(amounts, times)}
        found.append({**row, "peak_mib_at_largest": peak_mib(case.ours)})
    return found


def loading(repeat: int) -> list[dict[str, object]]:
    """Milliseconds of each part of the mapper, and images a second by number of workers."""
    cfg = load_config(str(LOADER_CONFIG))
    with TemporaryDirectory() as folder:
        records = loader.draw_records(Path(folder), cfg.MODEL.BESTIE.NUM_CLASSES)
        split = loader.split_of_mapper(cfg, records, repeat)
        rates = {
            f"images/s, {workers} worker(s)": loader.images_per_second(cfg, records, workers)
            for workers in WORKERS
        }
    spent = {f"{part}, ms": milliseconds for part, milliseconds in split.items()}
    return [{"measured": name, "value": value} for name, value in {**spent, **rates}.items()]


def parts(names: str) -> list[str]:
    """What ``--only`` names."""
    chosen = names.split(",")
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    return chosen


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=parts, default=PARTS, metavar="NAME[,NAME ...]")
    parser.add_argument("--repeat", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    parser.add_argument(
        "--config-file", default=str(TRAINING_CONFIG), help="of training and inference"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of it")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    results: dict[str, object] = {}
    rows = []
    for case in cases.all_cases(arguments.only):
        print(f"{case.function}: {case.scene} ...", file=sys.stderr)
        rows.append(measure(case, arguments.repeat))
    if rows:
        results["functions"] = rows
    if "growth" in arguments.only:
        results["growth"] = growth_with_instances(rows) + growth_with_pixels(arguments.repeat)
    if "loader" in arguments.only:
        results["loader"] = loading(arguments.repeat)
    if "training" in arguments.only:
        split = split_of_step(arguments.config_file, arguments.opts, TRAINING_STEPS)
        results["training_step_ms"] = [split]
    if "inference" in arguments.only:
        split = split_of_inference(arguments.config_file, arguments.opts, TEST_IMAGES)
        results["inference_ms"] = [split]
    for name, table in results.items():
        print(f"\n{name}\n{tabulate(table, headers='keys', floatfmt='.2f')}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run_tool(main)
