"""Reads the reference vectors, whole or as the excerpt that `cut_excerpt.py` makes of them.

Where the whole has a list of keys and an input, the excerpt has arrays and a rule; where it has
outputs of every pixel, the excerpt has those of every ``step``-th row and column.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

EXCERPT = Path(__file__).resolve().parent / "excerpt"
INPUT_SHAPE, INPUT_SEED = (1, 3, 96, 128), 0


def ruled_tensor(name: str, shape: list[int]) -> torch.Tensor:
    """A network's tensor by the rule in the README."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        return 1 + 0.1 * noise.abs()
    if name.endswith("running_mean"):
        return 0.1 * noise
    if noise.dim() == 1:
        return 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    return noise * (0.5 / (noise.numel() / shape[0])) ** 0.5


def ruled_input() -> torch.Tensor:
    return torch.randn(INPUT_SHAPE, generator=torch.Generator().manual_seed(INPUT_SEED))


def read_scene(path: Path, index: int) -> dict[str, np.ndarray]:
    """Inputs and outputs of the functions for one scene of a file."""
    prefix = f"s{index}_"
    with np.load(path) as vectors:
        return {k.removeprefix(prefix): vectors[k] for k in vectors if k.startswith(prefix)}


def read_outputs(folder: Path, network: str) -> tuple[dict[str, np.ndarray], int]:
    """A network's outputs for its input, and their step in rows and columns."""
    with np.load(folder / f"released_{network}_forward.npz") as vectors:
        outputs = dict(vectors)
    if "input" in outputs:  # the whole
        assert np.array_equal(outputs["input"], ruled_input().numpy())
    return outputs, int(outputs.get("step", 1))


def read_state(folder: Path, network: str) -> dict[str, torch.Tensor]:
    """A released network's state dict, its tensors by the rule."""
    keys, aliases = _read_keys(folder, network)
    return {name: ruled_tensor(aliases.get(name, name), shape) for name, shape in keys.items()}


def _read_keys(folder: Path, network: str) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Names with shapes, and names that share the tensor of another."""
    whole = folder / f"released_{network}_keys.json"
    if whole.exists():
        shared = folder / f"released_{network}_aliases.json"
        return (
            json.loads(whole.read_text()),
            json.loads(shared.read_text()) if shared.exists() else {},
        )
    with np.load(folder / f"released_{network}_keys.npz") as vectors:
        names = [name.decode() for name in vectors["names"]]
        shapes = [[side for side in shape if side >= 0] for shape in vectors["shapes"].tolist()]
        aliases = {name: names[i] for name, i in zip(names, vectors["aliases"], strict=True)}
    return dict(zip(names, shapes, strict=True)), aliases


def keys_as_arrays(folder: Path, network: str) -> dict[str, np.ndarray]:
    """The whole's list of keys as the excerpt keeps it; -1 fills shapes of fewer than 4 sides."""
    keys, aliases = _read_keys(folder, network)
    names = list(keys)
    return {
        "names": np.array([name.encode() for name in names]),
        "shapes": np.array([shape + [-1] * (4 - len(shape)) for shape in keys.values()], np.int16),
        "aliases": np.array([names.index(aliases.get(name, name)) for name in names], np.int16),
    }
