"""What ten million images and more would cost in tar shards: a simulation, none of it is built.

    python benchmarks/shards.py [--images 10000000] [--stored 20000] [--repeat 3] [--folder DIR]

Stored samples (an image, a weak map, a list of cues) of random bytes, of the size of photographs of
352 pixels, are read in three ways: each from files of its own, from tar shards by their place in
them, and from tar shards one after the other. A training's order is drawn of all --images, with an
index of shards and places of that many, which TrainingStream takes as it is. Files that were just
written come from memory: the disk, or the network, is left out.
"""

from __future__ import annotations

# First: it says how torch's threads wait, before torch is imported.
from bestie_d2.engine.command_line import run_tool

# isort: split

import argparse
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measuring import MILLISECONDS, largest_mib, median_times
from tabulate import tabulate
from tqdm import tqdm

from bestie_d2.data.training_stream import TrainingStream

PARTS = {"jpg": 30_000, "png": 2_000, "json": 200}  # bytes of an image, its map and its cues
A_SHARD = 1_000  # samples, 33 MB
BATCH = 16
MICROSECONDS = 1e3  # of a millisecond
INDEX = np.dtype([("shard", np.int32), ("place", np.int64)])  # 12 bytes a sample
COLUMNS = ["what", "samples", "microseconds a sample", "seconds", "MiB at most"]


def write_samples(folder: Path, stored: int) -> np.ndarray:
    """Files, and shards of the same samples; (stored,) the index of the shards."""
    random, index = np.random.default_rng(0), np.empty(stored, INDEX)
    (folder / "files").mkdir()
    for first in tqdm(range(0, stored, A_SHARD), "shards", smoothing=0):
        shard = first // A_SHARD
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(first, min(first + A_SHARD, stored)):
                index[number] = shard, tar.offset
                for name, size in PARTS.items():
                    content = random.bytes(size)
                    (folder / "files" / f"{number}.{name}").write_bytes(content)
                    entry = tarfile.TarInfo(f"{number}.{name}")
                    entry.size = size
                    tar.addfile(entry, io.BytesIO(content))
    return index


def from_files(folder: Path, numbers: np.ndarray) -> Iterator[tuple[bytes, ...]]:
    for number in numbers.tolist():
        yield tuple((folder / "files" / f"{number}.{name}").read_bytes() for name in PARTS)


def by_place(folder: Path, index: np.ndarray, numbers: np.ndarray) -> Iterator[tuple[bytes, ...]]:
    shards = [os.open(folder / f"{n}.tar", os.O_RDONLY) for n in range(index["shard"].max() + 1)]
    blocks = [tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE)) for size in PARTS.values()]
    starts = np.cumsum([0, *blocks[:-1]]) + tarfile.BLOCKSIZE  # behind the head of each
    for shard, place in index[numbers].tolist():
        read = os.pread(shards[shard], sum(blocks), place)
        yield tuple(read[at : at + n] for at, n in zip(starts, PARTS.values(), strict=True))
    for shard in shards:
        os.close(shard)


def in_turn(folder: Path, shards: int) -> Iterator[tuple[bytes, ...]]:
    for number in range(shards):
        with tarfile.open(folder / f"{number}.tar", "r|") as tar:
            contents = (tar.extractfile(entry).read() for entry in tar)
            yield from zip(*[contents] * len(PARTS), strict=True)


def first_batch(index: np.ndarray, start: int) -> list[tuple[int, int]]:
    """Where the samples of a training's batch lie that begins with its ``start``-th."""
    stream = TrainingStream(index[:1], batch_size=BATCH, seed=0, start=start)
    stream.records, stream.round = index, np.arange(len(index))
    drawn = iter(stream)
    return [tuple(next(drawn).tolist()) for _ in range(BATCH)]


def measure(folder: Path, images: int, stored: int, repeat: int) -> list[list]:
    """Rows of the table."""
    index = write_samples(folder, stored)
    order = np.random.default_rng(0).permutation(stored)
    ways: dict[str, Callable[[], Iterator]] = {
        "files of their own, at random": lambda: from_files(folder, order),
        "tar shards by place, at random": lambda: by_place(folder, index, order),
        "tar shards in turn": lambda: in_turn(folder, index["shard"].max() + 1),
    }
    times = median_times(
        {name: lambda way=way: sum(1 for _ in way()) for name, way in ways.items()}, repeat
    )
    rows = [
        [name, stored, MICROSECONDS * t / stored, t / MILLISECONDS, None]
        for name, t in times.items()
    ]
    before, start = largest_mib(), time.perf_counter()
    first_batch(np.resize(index, images), images // BATCH - 1)  # a round's last: as after a restart
    seconds, mib = time.perf_counter() - start, largest_mib() - before
    return [*rows, ["index and order of all", images, None, seconds, mib]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--stored", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = measure(Path(folder), arguments.images, arguments.stored, arguments.repeat)
    print(tabulate(rows, COLUMNS, floatfmt=".1f"))


if __name__ == "__main__":
    run_tool(main)
