from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.checks import weak_map_check
from bestie_d2.checks.weak_map_check import check_weak_maps
from bestie_d2.errors import InputError

CAT, DOG = 0, 1


def rle(left: int) -> dict:
    """Two columns of a 2x4 image, from ``left`` on."""
    mask = np.zeros((2, 4), np.uint8)
    mask[:, left : left + 2] = 1
    return mask_api.encode(np.asfortranarray(mask))


@pytest.fixture
def dataset(tmp_path):
    """Images a (cat), b (dog), c (cat and dog) of 2x4 pixels; truth of the first two."""
    name = f"weak_map_check_{tmp_path.name}"
    records = [
        {"file_name": f"{stem}.jpg", "image_id": stem, "height": 2, "width": 4, "image_classes": t}
        for stem, t in (("a", [CAT]), ("b", [DOG]), ("c", [CAT, DOG]))
    ]
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(thing_classes=["cat", "dog"])
    yield name, records
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def write(folder: Path, stem: str, rows: list[list[int]]) -> None:
    Image.fromarray(np.array(rows, np.uint8)).save(folder / f"{stem}.png")


def test_maps_that_fit(dataset, tmp_path):
    name, _ = dataset
    write(tmp_path, "a", [[1, 1, 0, 0], [0, 0, 0, 0]])
    write(tmp_path, "b", [[2, 2, 255, 255], [0, 0, 0, 0]])
    write(tmp_path, "c", [[1, 2, 0, 0], [0, 0, 0, 0]])
    report = check_weak_maps(name, str(tmp_path))
    assert report.unusable == report.lacking == report.beyond == []
    assert report.describe() == [
        "3 of 3 maps can be used; 66.7 % of their pixels are background, 8.3 % unknown (255)"
    ]
    assert report.table().splitlines()[2].split() == ["cat", "2", "2", "12.50"]
    assert report.table().splitlines()[3].split() == ["dog", "2", "2", "12.50"]


def test_what_does_not_fit_is_named(dataset, tmp_path):
    name, _ = dataset
    write(tmp_path, "a", [[2, 0, 0, 0], [0, 0, 0, 0]])  # a dog for a cat
    write(tmp_path, "b", [[3, 0, 0, 0], [0, 0, 0, 0]])  # no class at all
    report = check_weak_maps(name, str(tmp_path))
    assert (report.lacking, report.beyond) == (["a"], ["a"])
    assert [line.split(": ", 1)[1] for line in report.unusable] == [
        "index 3, expected 0..2 or 255",
        "no such file",
    ]
    lines = report.describe()
    assert lines[0].startswith("1 of 3 maps can be used")
    assert "1 maps lack a class that the image is tagged with: a" in lines
    assert "1 maps show a class that the image is not tagged with: a" in lines

    write(tmp_path, "b", [[2, 0], [0, 0]])
    (wrong_size, _) = check_weak_maps(name, str(tmp_path)).unusable
    assert "b.png: 2x2 pixels (height x width), but its image has 2x4" in wrong_size
    (only,) = check_weak_maps(name, str(tmp_path), keep_missing=True).unusable
    assert "b.png" in only


def test_maps_are_measured_where_the_truth_is_known(dataset, tmp_path, monkeypatch):
    name, records = dataset
    for record, left in zip(records, (0, 2, 0), strict=True):
        record["annotations"] = [{"category_id": record["image_classes"][0]}]
        record["annotations"][0]["segmentation"] = rle(left)
    write(tmp_path, "a", [[1, 1, 0, 0], [1, 0, 0, 0]])  # 3 of 4 cat pixels
    write(tmp_path, "b", [[0, 0, 2, 2], [0, 2, 2, 2]])  # 4 of 4 dog pixels and one too many
    write(tmp_path, "c", [[1, 1, 0, 0], [1, 1, 0, 0]])  # as it should be
    monkeypatch.setattr(weak_map_check, "MIN_AREA", 1)
    report = check_weak_maps(name, str(tmp_path))
    figures = report.figures
    assert figures["IoU-cat"] == pytest.approx(100 * 7 / 8)
    assert figures["IoU-dog"] == pytest.approx(100 * 4 / 5)
    assert figures["IoU-background"] == pytest.approx(100 * 11 / 13)
    assert figures["mIoU"] == pytest.approx(100 * (7 / 8 + 4 / 5 + 11 / 13) / 3)
    assert report.describe()[-2:] == ["3 true objects: 3 right", "3 components: 3 right"]


def test_memory_does_not_grow_with_the_components(dataset, tmp_path):
    name, records = dataset
    squares = np.zeros((400, 400), np.uint8)
    squares.reshape(20, 20, 20, 20)[:, 1:9, :, 1:9] = 1  # 400 of them, whose masks are 61 MiB
    only = {"category_id": CAT, "segmentation": mask_api.encode(np.asfortranarray(squares))}
    records[:] = [{**records[0], "height": 400, "width": 400, "annotations": [only]}]
    write(tmp_path, "a", squares.tolist())
    tracemalloc.start()
    report = check_weak_maps(name, str(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.describe()[-1] == "400 components: 400 fragment"
    assert peak < 20 * 2**20


def test_no_data_set_and_no_folder_are_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="'nobody' is not registered"):
        check_weak_maps("nobody", str(tmp_path))
    with pytest.raises(InputError, match="nowhere: no such folder"):
        check_weak_maps(dataset[0], str(tmp_path / "nowhere"))
