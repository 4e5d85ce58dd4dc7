from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data import (
    MAPPER_REGISTRY,
    DetectionMapper,
    EvaluationMapper,
    WeakInstanceMapper,
    load_tagged_records,
)
from bestie_d2.data.augmentation import build_tag_augmentations
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pam_shapes.yaml"


def config(*overrides: str):
    return load_config(str(CONFIG), ["MODEL.DEVICE", "cpu", *overrides])


@pytest.fixture
def record(tmp_path, write_png) -> dict:
    image = np.zeros((24, 40, 3), np.uint8)
    image[..., 0] = np.arange(24)[:, None]  # red is the row
    path = write_png(tmp_path / "a.png", image)
    return {"file_name": path, "image_id": 7, "height": 24, "width": 40, "image_classes": [1, 3]}


def test_an_image_and_its_tags(record):
    plain = ["INPUT.TAGS.COLOR_JITTER", "[0, 0, 0, 0]", "INPUT.TAGS.HORIZONTAL_FLIP", "False"]
    cfg = config("INPUT.TAGS.CROP_SIZE", "16", *plain)
    example = MAPPER_REGISTRY.get("ImageTagMapper")(cfg)(record)
    assert example["image"].shape == (3, 16, 16)
    assert example["image"].dtype == torch.uint8
    rows = example["image"][0]
    assert torch.equal(rows - rows[:1], torch.arange(16, dtype=torch.uint8)[:, None].expand(16, 16))
    assert example["image_classes"].tolist() == [False, True, False, True]
    assert example["image_id"] == 7
    assert record["image_classes"] == [1, 3]  # the record stays as it was


def test_both_sides_are_resized_then_cropped(record):
    cfg = config("INPUT.TAGS.RESIZE", "20", "INPUT.TAGS.CROP_SIZE", "20")
    assert MAPPER_REGISTRY.get("ImageTagMapper")(cfg)(record)["image"].shape == (3, 20, 20)


def test_a_small_image_is_padded_with_the_mean_color(record):
    plain = ["INPUT.TAGS.COLOR_JITTER", "[0, 0, 0, 0]"]
    cfg = config("INPUT.TAGS.CROP_SIZE", "50", *plain)
    image = MAPPER_REGISTRY.get("ImageTagMapper")(cfg)(record)["image"]
    assert image.shape == (3, 50, 50)
    padding = (image == torch.tensor([124, 116, 104], dtype=torch.uint8).view(3, 1, 1)).all(dim=0)
    assert int(padding.sum()) == 50 * 50 - 24 * 40


def test_flips_and_jitter_are_there_when_asked_for():
    def kinds(*overrides: str) -> list[str]:
        return [type(a).__name__ for a in build_tag_augmentations(config(*overrides).clone())]

    assert kinds() == ["PILColorTransform", "RandomPadCrop", "RandomFlip"]
    assert kinds("INPUT.TAGS.VERTICAL_FLIP", "True", "INPUT.TAGS.RESIZE", "30") == [
        "Resize",
        "PILColorTransform",
        "RandomPadCrop",
        "RandomFlip",
        "RandomFlip",
    ]


def test_color_jitter_changes_colors_within_its_strength():
    image = np.full((4, 4, 3), 100, np.uint8)
    jitter = build_tag_augmentations(config("INPUT.TAGS.COLOR_JITTER", "[0.3, 0, 0, 0]"))[0]
    torch.manual_seed(0)
    means = [jitter.apply_image(image).mean() for _ in range(50)]
    assert 69 <= min(means) < 80
    assert 120 < max(means) <= 131


def test_a_broken_or_resized_image_is_named(record):
    mapper = MAPPER_REGISTRY.get("ImageTagMapper")(config())
    with pytest.raises(InputError, match=r"a\.png: 24x40 pixels .*its annotation says 24x41"):
        mapper({**record, "width": 41})
    Path(record["file_name"]).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png: not a readable image"):
        mapper(record)


def test_a_test_image_gets_the_side_asked_for(record):
    assert EvaluationMapper(config("INPUT.TEST_SIDE", "32"), False)(record)["image"].shape == (
        3,
        32,
        32,
    )
    kept = config("INPUT.TEST_SIDE", "0", "INPUT.MIN_SIZE_TEST", "0")
    assert EvaluationMapper(kept, False)(record)["image"].shape == (3, 24, 40)


@pytest.fixture
def registered(record, name):
    """Two images, one of them without a tag."""
    record["annotations"] = []
    records = [record, {**record, "image_id": 8, "image_classes": []}]
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(thing_classes=["a", "b", "c", "d"])
    return name


def test_images_without_a_tag_and_masks_are_left_out(registered):
    (kept,) = load_tagged_records(registered, 4)
    assert kept["image_id"] == 7
    assert "annotations" not in kept


def test_what_cannot_be_trained_on_is_refused(registered, record):
    with pytest.raises(InputError, match="the model has 3 classes, the data set 4"):
        load_tagged_records(registered, 3)
    with pytest.raises(InputError, match="'nobody' is not registered"):
        load_tagged_records("nobody", 4)
    record["image_classes"] = []
    with pytest.raises(InputError, match="none of its 2 images has a tag"):
        load_tagged_records(registered, 4)
    Path(record["file_name"]).unlink()
    with pytest.raises(InputError, match=r"image .*a\.png: no such file"):
        load_tagged_records(registered, 4)


def test_mappers_say_what_of_a_record_they_need():
    assert MAPPER_REGISTRY.get("ImageTagMapper").needs == {"tags"}
    assert WeakInstanceMapper.needs == {"tags", "weak_maps", "cues"}
    assert (DetectionMapper.needs, EvaluationMapper.needs) == ({"masks"}, set())
