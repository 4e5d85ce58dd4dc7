from __future__ import annotations

from pathlib import Path

import pytest
from reference_vectors import EXCERPT


@pytest.fixture(scope="session")
def reference(request) -> Path:
    """Folder of the vectors: the excerpt, or the whole where it is there."""
    if request.param == "excerpt":
        return EXCERPT
    return request.getfixturevalue("shared") / "reference"
