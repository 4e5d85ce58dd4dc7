"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED_VARIABLE = "BESTIE_D2_SHARED"

# Time limits of single examples would fail on a busy machine.
settings.register_profile("bestie_d2", deadline=None, derandomize=True)
settings.load_profile("bestie_d2")


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference vectors and small real data, which is no part of the project."""
    folder = Path(os.environ.get(SHARED_VARIABLE, ROOT.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data: set {SHARED_VARIABLE} to the folder that has 'reference'")
    return folder
