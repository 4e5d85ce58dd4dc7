from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from pycocotools import mask as mask_api

from bestie_d2.data import MAPPER_REGISTRY, ImageReader, WeakInstanceMapper
from bestie_d2.data.augmentation import (
    RandomPadCrop,
    RandomPhotometric,
    ResizeLongSide,
    build_training_augmentations,
    distort_colors,
)
from bestie_d2.data.labels.instance_files import InstanceLabels
from bestie_d2.data.mappers.weak_instance import transform_cues
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.labeling.transfer import Transfer
from bestie_d2.structures import PointCues

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def cue(y: float, x: float) -> PointCues:
    return PointCues(torch.tensor([[y, x]]), torch.tensor([0]), torch.ones(1))


@pytest.fixture
def record(tmp_path, write_png):
    """An image whose red channel is its row, with a 6x8 object of class 1 around (12, 20)."""
    image = np.zeros((24, 40, 3), np.uint8)
    image[..., 0] = np.arange(24)[:, None]
    weak = np.zeros((24, 40), np.uint8)
    weak[9:15, 16:24] = 2
    return {
        "file_name": write_png(tmp_path / "a.png", image),
        "sem_seg_file_name": write_png(tmp_path / "maps" / "a.png", weak),
        "image_id": 7,
        "height": 24,
        "width": 40,
        "image_classes": [1],
        "cues": PointCues(torch.tensor([[12.0, 20.0]]), torch.tensor([1]), torch.ones(1)),
    }


def mapper(augmentations=(), supervision="tags", split_weight=0.0) -> WeakInstanceMapper:
    return WeakInstanceMapper(
        augmentations=list(augmentations),
        reader=ImageReader("RGB"),
        num_classes=3,
        supervision=supervision,
        transfer=Transfer(min_area=10, split_weight=split_weight),
    )


def test_a_record_becomes_tensors_and_targets(record):
    example = mapper()(record)
    assert example["image"].shape == (3, 24, 40)
    assert example["image"].dtype == torch.uint8
    assert example["image"][0, :, 5].tolist() == list(range(24))
    assert example["sem_seg"].dtype == torch.uint8
    assert example["sem_seg"][9, 16] == 2
    assert example["image_classes"].tolist() == [False, True, False]
    labels = example["pseudo_labels"]
    assert labels.components.areas[labels.weights > 0].tolist() == [48]
    assert (labels.peaks.tolist(), labels.peak_classes.tolist()) == ([[11, 19]], [1])
    assert labels.centers.tolist() == [[11, 19]]  # the centroid (11.5, 19.5), cut
    assert labels.weights.dtype == np.float64
    assert (example["image_id"], "sem_seg_file_name" in example) == (7, False)
    assert "sem_seg_file_name" in record  # the record itself stays


def test_given_points_are_the_centers(record):
    example = mapper(supervision="points")(record)
    labels = example["pseudo_labels"]
    assert (labels.peaks.tolist(), labels.peak_classes.tolist()) == ([[12, 20]], [1])


def test_split_parts_are_learned_but_the_component_is_refined_whole(record):
    two = PointCues(torch.tensor([[12.0, 17.0], [12.0, 22.0]]), torch.tensor([1, 1]), torch.ones(2))
    example = mapper(split_weight=0.5)({**record, "cues": two})
    labels = example["pseudo_labels"]
    assert (labels.components.areas.tolist(), labels.weights.tolist()) == ([24, 24], [0.5, 0.5])
    assert labels.centers.tolist() == [[11, 17], [11, 21]]
    assert example["components"].areas.tolist() == [48]
    assert mapper()({**record, "cues": two})["pseudo_labels"].weights.tolist() == [0]


def test_labeled_instances_are_learned_in_place_of_components(record):
    mask = np.zeros((24, 40), dtype=np.uint8, order="F")
    mask[2:6, 3:9] = 1
    rle = mask_api.encode(mask)
    labeled = {**record, "instance_labels": InstanceLabels([0], [rle])}
    labels = mapper()(labeled)["pseudo_labels"]
    assert labels.components.masks()[labels.weights > 0].tolist() == [mask.tolist()]
    assert (labels.peaks.tolist(), labels.peak_classes.tolist()) == ([[3, 5]], [0])
    points = mapper(supervision="points")(labeled)["pseudo_labels"]
    assert points.weights.tolist() == [1]
    assert (points.peaks.tolist(), points.peak_classes.tolist()) == ([[12, 20]], [1])


def test_all_of_300_labeled_instances_are_learned(record):
    rles = []
    for number in range(300):
        mask = np.zeros((24, 40), dtype=np.uint8, order="F")
        mask[number // 20, 2 * (number % 20)] = 1
        rles.append(mask_api.encode(mask))
    each = mapper([T.ResizeTransform(24, 40, 96, 160)])
    labels = each({**record, "instance_labels": InstanceLabels([2] * 300, rles)})["pseudo_labels"]
    assert labels.components.areas[labels.weights > 0].tolist() == [16] * 300
    assert labels.peak_classes.tolist() == [2] * 300


def test_targets_are_made_after_augmentation(record):
    example = mapper([T.RandomFlip(prob=1.0)])(record)
    assert example["cues"].yx.tolist() == [[12.0, 19.0]]  # 40 - 1 - 20
    assert torch.nonzero(example["sem_seg"])[0].tolist() == [9, 16]  # 40 - 24
    assert example["pseudo_labels"].peaks.tolist() == [[11, 19]]


def test_cues_that_leave_the_crop_are_kept_outside_of_it():
    moved = transform_cues(cue(5, 30), T.TransformList([T.CropTransform(0, 0, 20, 20)]))
    assert moved.yx.tolist() == [[5.0, 30.0]]
    moved = transform_cues(cue(5, 30), T.TransformList([T.CropTransform(32, 6, 8, 8)]))
    assert moved.yx.tolist() == [[-1.0, -2.0]]


def test_image_map_and_cues_stay_together_in_the_crop():
    random.seed(3)
    for _ in range(20):
        image, weak = np.zeros((10, 60, 3), np.uint8), np.zeros((10, 60), np.uint8)
        image[4, 33], weak[4, 33] = 200, 1
        augmented = T.AugInput(image, sem_seg=weak)
        transforms = T.AugmentationList([RandomPadCrop(32, [0, 0, 0], 0)])(augmented)
        (y, x) = transform_cues(cue(4, 33), transforms).yx[0].int().tolist()
        if 0 <= x < 32:
            assert (augmented.image[y, x, 0], augmented.sem_seg[y, x]) == (200, 1)
        else:
            assert augmented.sem_seg.sum() == 0


def test_cues_are_pixel_centers():
    doubled = transform_cues(cue(0, 3), T.TransformList([T.ResizeTransform(10, 10, 20, 20)]))
    assert doubled.yx.tolist() == [[0.5, 6.5]]
    assert len(transform_cues(PointCues.empty(), T.TransformList([T.HFlipTransform(5)]))) == 0


def test_an_image_of_another_size_than_its_record_is_named(record):
    record["height"] = 25
    with pytest.raises(InputError, match=r"a\.png: 24x40 pixels .* says 25x40"):
        mapper()(record)


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_an_unreadable_image_is_named(record, content):
    path = Path(record["file_name"])
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=r"image .*a\.png: (no such file|not a readable image)"):
        mapper()(record)


def test_the_mapper_is_registered():
    assert MAPPER_REGISTRY.get("WeakInstanceMapper") is WeakInstanceMapper


@pytest.mark.parametrize(
    ("size", "expected"),
    [((375, 500), (321, 449)), ((500, 333), (449, 289)), ((10, 449), (33, 449))],
)
def test_sides_are_resized_to_a_multiple_of_32_plus_1(size, expected):
    augmentation = ResizeLongSide(449, [1.0, 1.0], 0.1)
    transform = augmentation.get_transform(np.zeros((*size, 3), np.uint8))
    assert (transform.new_h, transform.new_w) == expected


def test_scales_come_in_steps():
    augmentation = ResizeLongSide(449, [0.7, 1.3], 0.1)
    assert augmentation.scales == pytest.approx([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3])


@pytest.mark.parametrize("size", [(20, 50), (50, 20), (10, 10), (40, 60)])
def test_pad_and_crop_always_give_the_asked_square(size):
    random.seed(0)
    augmentation = RandomPadCrop(32, image_color=[100, 110, 120], map_value=255)
    for _ in range(20):
        image = np.full((*size, 3), 7, np.uint8)
        weak = np.full(size, 1, np.uint8)
        augmented = T.AugInput(image, sem_seg=weak)
        augmentation(augmented)
        assert augmented.image.shape == (32, 32, 3)
        inside = augmented.sem_seg == 1
        assert inside.sum() == min(size[0], 32) * min(size[1], 32)
        assert (augmented.image[inside] == 7).all()
        assert (augmented.image[~inside] == [100, 110, 120]).all()
        assert (augmented.sem_seg[~inside] == 255).all()


def test_photometric_distortion_of_one_pixel():
    pixel = np.array([[[100, 50, 50]]], np.uint8)

    def distort(**changes):
        values = {"brightness": 0.0, "contrast": 1.0, "hue": 0.0, "contrast_first": True}
        return distort_colors(pixel, **(values | changes))[0, 0].tolist()

    assert distort() == [100, 50, 50]
    assert distort(brightness=10.0) == [110, 60, 60]
    assert distort(contrast=1.5) == [150, 75, 75]
    assert distort(contrast=1.5, contrast_first=False) == [150, 75, 75]
    assert distort(hue=36.0) == [100, 80, 50]  # red turned by 36 of 60 degrees towards yellow
    assert distort(contrast=3.0) == [255, 150, 150]
    random.seed(1)
    drawn = {
        tuple(RandomPhotometric()(T.AugInput(pixel)).apply_image(pixel)[0, 0]) for _ in range(9)
    }
    assert len(drawn) > 3


@pytest.mark.parametrize(("ignore", "value"), [("False", 0), ("True", 255)])
def test_the_configuration_chooses_the_padding(ignore, value):
    cfg = load_config(str(CONFIGS / "bestie_voc.yaml"), ["INPUT.BESTIE.IGNORE_PADDING", ignore])
    padding = next(a for a in build_training_augmentations(cfg) if isinstance(a, RandomPadCrop))
    assert (padding.size, padding.map_value) == (416, value)
    assert padding.image_color == [124, 116, 104]  # ImageNet's mean
