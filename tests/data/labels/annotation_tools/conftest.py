"""Two pictures and a way to convert an export of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bestie_d2.data.labels.conversion import convert_labels

SIZES = {"a.png": (200, 100), "b.jpg": (48, 64)}  # width, height


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in SIZES.items():
        Image.new("RGB", size).save(folder / name)
    return folder


@pytest.fixture
def convert(tmp_path: Path, images: Path) -> Callable[..., dict]:
    """Writes an export (text, bytes or a JSON value), converts it, and says what came of it: class
    and place (x, y) by picture; the lines in ``convert.told``, the JSON in ``convert.written``."""

    def run(name: str, content: object = None, **options) -> dict:
        path = tmp_path / "export" / name
        path.parent.mkdir(exist_ok=True)
        if content is not None:
            text = content if isinstance(content, (str, bytes)) else json.dumps(content)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        options = {"images": str(images), "output": str(tmp_path / "out.json"), **options}
        run.told = convert_labels(str(path), **options)
        run.written = json.loads((tmp_path / "out.json").read_text())
        names = {category["id"]: category["name"] for category in run.written["categories"]}
        found: dict[str, list] = {i["file_name"]: [] for i in run.written["images"]}
        files = {image["id"]: image["file_name"] for image in run.written["images"]}
        for entry in run.written.get("points", run.written.get("annotations", ())):
            place = (names[entry["category_id"]], *entry.get("point", ()))
            found[files[entry["image_id"]]].append(place if len(place) > 1 else place[0])
        return found

    return run
