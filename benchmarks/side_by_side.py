"""What waiting threads cost when several processes share the cores.

    python benchmarks/side_by_side.py
        [--turns 300000,10000,1000,0] [--processes 1,2] [--threads 2] [--steps 10]

Each process trains a ResNet-18 on batches of 8 images of 224x224 pixels; in a row of the table they
start together. Times are medians of a process's steps, of the slowest process. 300,000 turns are
what GNU's OpenMP does where nothing is set; an idle machine is needed for figures that mean much.
"""

from __future__ import annotations

# First: it says how torch's threads wait, before torch is imported.
from bestie_d2.engine.command_line import run_tool
from bestie_d2.start_up import OF_THE_USER, SPIN_COUNT

# isort: split

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torchvision.models import resnet18

BATCH, SIDE = 8, 224
READY, GO = "ready", "go"


def step_time(steps: int, threads: int) -> float:
    """Median seconds of a training step, measured once the word comes."""
    torch.set_num_threads(threads)
    model = resnet18(weights=None)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    images, classes = torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH)
    seconds = []
    for number in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(images), classes).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        if number == 0:  # what is made once belongs to no step
            print(READY, flush=True)
            sys.stdin.readline()
    return statistics.median(seconds[1:])


def slowest(turns: int, processes: int, steps: int, threads: int) -> float:
    """``step_time`` of so many processes that start together; the largest."""
    environment = {k: v for k, v in os.environ.items() if k not in OF_THE_USER}
    environment[SPIN_COUNT] = str(turns)
    command = [sys.executable, __file__, "--one", "--steps", str(steps), "--threads", str(threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    started = [subprocess.Popen(command, **pipes) for _ in range(processes)]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write(f"{GO}\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in started)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=numbers, default=[300_000, 10_000, 1_000, 0])
    parser.add_argument("--processes", type=numbers, default=[1, 2], help="at once; default 1,2")
    parser.add_argument("--threads", type=int, default=2, help="of each process; default 2")
    parser.add_argument("--steps", type=int, default=10, help="default 10")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(step_time(args.steps, args.threads))
        return
    rows = [
        [turns, *(slowest(turns, count, args.steps, args.threads) for count in args.processes)]
        for turns in args.turns
    ]
    print(f"seconds a step: ResNet-18, batch {BATCH}, {SIDE}x{SIDE}, {args.threads} threads")
    heads = ["turns", *(f"{count} at once" for count in args.processes)]
    print(tabulate(rows, heads, floatfmt=".3f"))


if __name__ == "__main__":
    run_tool(main)
