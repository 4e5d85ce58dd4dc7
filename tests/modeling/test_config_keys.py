"""Every key reaches the part that it speaks of, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.data import transforms as T
from detectron2.modeling import build_model

from bestie_d2.data import WeakInstanceMapper
from bestie_d2.data.augmentation import RandomPhotometric, ResizeLongSide
from bestie_d2.engine.configuration import load_config
from bestie_d2.labeling.grouping import CenterClustering
from bestie_d2.labeling.transfer import Transfer

BASE = str(Path(__file__).resolve().parents[2] / "configs" / "Base-BESTIE.yaml")


def config(**values):
    """Base configuration with the given keys below MODEL.BESTIE."""
    pairs = ["MODEL.DEVICE", "cpu", "MODEL.HRNET.ARCHITECTURE", "hrnet_w18_small"]
    for key, value in values.items():
        pairs += [f"MODEL.BESTIE.{key.replace('__', '.')}", str(value)]
    return load_config(BASE, pairs)


def test_clustering():
    cfg = config(
        CLUSTERING__MAGNITUDE=1.5,
        CLUSTERING__AREA=7,
        CLUSTERING__AREA_TOLERANCE=2,
        CLUSTERING__MIN_CENTER=0.25,
        CLUSTERING__MIN_DISTANCE=33,
    )
    recipe = CenterClustering(
        magnitude=1.5, area=7, area_tolerance=2, min_center=0.25, min_distance=33.0
    )
    model = build_model(cfg)
    assert model.criterion.refinement.grouping["clustering"] == recipe
    assert model.grouping["clustering"] == recipe
    off = build_model(config(CLUSTERING__ENABLED=False))
    assert off.criterion.refinement.grouping["clustering"] is False
    assert off.grouping["clustering"] == CenterClustering()
    assert build_model(config(TEST__CLUSTERING=False)).grouping["clustering"] is False


def test_grouping_at_inference():
    model = build_model(
        config(
            TEST__CENTER_THRESHOLD=0.2,
            TEST__KERNEL=9,
            TEST__MIN_AREA=8,
            TEST__KEEP_CENTERLESS=False,
            TEST__FLIP=True,
            SIZE_DIVISIBILITY=64,
        )
    )
    assert model.grouping["center_threshold"] == 0.2
    assert model.grouping["kernel"] == 9
    assert model.grouping["min_area"] == 8
    assert model.grouping["keep_centerless"] is False
    assert (model.flip, model.size_divisibility) == (True, 64)


def test_refinement():
    cfg = config(
        SIGMA=3,
        MIN_AREA=6,
        REFINEMENT__CENTER_THRESHOLD=0.4,
        REFINEMENT__KERNEL=11,
        REFINEMENT__MAX_INSTANCES=9,
        REFINEMENT__WEIGHTING="center",
        REFINEMENT__START_ITER=77,
    )
    criterion = build_model(cfg).criterion
    assert criterion.refinement.grouping == {
        "center_threshold": 0.4,
        "kernel": 11,
        "clustering": CenterClustering(),
        "sigma": 3.0,
        "sigma_by_size": 0.0,
        "min_area": 6,
        "max_instances": 9,
        "weighting": "center",
    }
    assert criterion.refinement_start == 77
    assert build_model(config(REFINEMENT__ENABLED=False)).criterion.refinement is None


def test_losses():
    cfg = config(
        LOSS__SEM_SEG_WEIGHT=2,
        LOSS__CENTER_WEIGHT=3,
        LOSS__OFFSET_WEIGHT=5,
        LOSS__SEM_SEG_TOP_K=0.7,
        LOSS__PSEUDO_SHARE=0.25,
        LOSS__REFINED_SHARE=0.75,
    )
    criterion = build_model(cfg).criterion
    weights = (criterion.sem_seg_weight, criterion.center_weight, criterion.offset_weight)
    assert weights == (2.0, 3.0, 5.0)
    assert criterion.sem_seg_top_k == 0.7
    assert (criterion.pseudo_share, criterion.refined_share) == (0.25, 0.75)


def test_batch_norm_momentum():
    model = build_model(config(BATCH_NORM_MOMENTUM=0.03))
    layers = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert layers
    assert {layer.momentum for layer in layers} == {0.03}


def test_pseudo_labels():
    cfg = config(
        SIGMA=3, MIN_AREA=6, WHOLE_PIXEL_CENTERS=False, SPLIT_WEIGHT=0.5, SUPERVISION="points"
    )
    mapper = WeakInstanceMapper(cfg)
    assert mapper.centers == "cue"
    assert mapper.transfer == Transfer(
        sigma=3, min_area=6, whole_pixel_centers=False, split_weight=0.5
    )
    by_size = config(SIGMA_BY_SIZE=0.2)
    assert WeakInstanceMapper(by_size).transfer.sigma_by_size == 0.2
    assert build_model(by_size).criterion.refinement.grouping["sigma_by_size"] == 0.2


@pytest.mark.parametrize(
    ("key", "kind"), [("HORIZONTAL_FLIP", T.RandomFlip), ("PHOTOMETRIC", RandomPhotometric)]
)
def test_augmentations_can_be_left_out(key, kind):
    for value in (True, False):
        cfg = load_config(BASE, [f"INPUT.BESTIE.{key}", str(value)])
        augmentations = WeakInstanceMapper(cfg).augmentations.augs
        assert any(isinstance(a, kind) for a in augmentations) == value


def test_vertical_flip_and_scales():
    cfg = load_config(
        BASE,
        ["INPUT.BESTIE.VERTICAL_FLIP", "True", "INPUT.BESTIE.SCALE_RANGE", "[0.5, 1.0]",
         "INPUT.BESTIE.SCALE_STEP", "0.25"],
    )  # fmt: skip
    augmentations = WeakInstanceMapper(cfg).augmentations.augs
    flips = [a for a in augmentations if isinstance(a, T.RandomFlip)]
    assert [(flip.horizontal, flip.vertical) for flip in flips] == [(True, False), (False, True)]
    (resize,) = (a for a in augmentations if isinstance(a, ResizeLongSide))
    assert resize.scales == pytest.approx([0.5, 0.75, 1.0])
