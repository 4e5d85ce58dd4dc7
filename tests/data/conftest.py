import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from bestie_d2.data.datasets import weak


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A data set name of this test's own, free again afterwards."""
    name = request.node.nodeid
    yield name
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog:
            catalog.remove(name)
    weak._registered.pop(name, None)


@pytest.fixture
def write_png() -> Callable[..., str]:
    """Writes an array as PNG (grey or RGB by its shape) and returns the path."""

    def write(path: Path, array: list | np.ndarray) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(array, np.uint8)).save(path)
        return str(path)

    return write


@pytest.fixture
def write_json() -> Callable[..., str]:
    def write(path: Path, content: object) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return str(path)

    return write
