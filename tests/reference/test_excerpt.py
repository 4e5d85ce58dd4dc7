from __future__ import annotations

from pathlib import Path

import numpy as np
from cut_excerpt import cut
from reference_vectors import EXCERPT

BYTES = 700_000


def test_the_excerpt_is_what_the_script_cuts(shared: Path):
    files = cut(shared / "reference")
    assert {path.name for path in EXCERPT.iterdir()} == set(files)
    for name, arrays in files.items():
        with np.load(EXCERPT / name) as kept:
            assert set(kept) == set(arrays)
            for key, expected in arrays.items():
                assert kept[key].dtype == expected.dtype
                np.testing.assert_array_equal(kept[key], expected)


def test_the_excerpt_is_small():
    assert 0 < sum(path.stat().st_size for path in EXCERPT.iterdir()) < BYTES
