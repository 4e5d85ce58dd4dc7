"""Cuts the excerpt of the reference vectors that lies beside this file.

python tests/reference/cut_excerpt.py FOLDER_WITH_THE_VECTORS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from reference_vectors import EXCERPT, keys_as_arrays, read_outputs

FUNCTIONS, SCENE = "functions_seed1.npz", 4  # the smallest scene in which clustering matters
NETWORKS = ("hrnet32", "resnet50", "pam_vgg16")
STEP = 9  # in rows and columns; it meets every phase of what was enlarged four or eight times


def cut(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of each file of the excerpt."""
    with np.load(folder / FUNCTIONS) as vectors:
        files = {FUNCTIONS: {k: vectors[k] for k in vectors if k.startswith(f"s{SCENE}_")}}
    for network in NETWORKS:
        outputs, _ = read_outputs(folder, network)
        del outputs["input"]
        files[f"released_{network}_forward.npz"] = {
            "step": np.array(STEP),
            **{k: v[..., ::STEP, ::STEP] if v.ndim == 4 else v for k, v in outputs.items()},
        }
        files[f"released_{network}_keys.npz"] = keys_as_arrays(folder, network)
    return files


if __name__ == "__main__":
    EXCERPT.mkdir(exist_ok=True)
    for name, arrays in cut(Path(sys.argv[1])).items():
        np.savez_compressed(EXCERPT / name, **arrays)
