"""Sides of images that the backbone does not take are told, with those that it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from bestie_d2.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
HRNET = [
    "MODEL.BACKBONE.NAME", "build_hrnet_backbone",
    "MODEL.HRNET.ARCHITECTURE", "hrnet_w18_small",
    "MODEL.PAM.IN_FEATURE", "res2",
    "MODEL.WSSS.DEEP_FEATURE", "res2",
    "MODEL.WSSS.SHALLOW_FEATURE", "res2",
    "MODEL.WSSS.TEST.SIZE_DIVISIBILITY", "32",
]  # fmt: skip
MULTIPLES = "but hrnet_w18_small takes images with sides that are multiples of 32: set it to"


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("bestie_shapes", "INPUT.BESTIE.CROP_SIZE"),
        ("pam_shapes", "INPUT.TAGS.CROP_SIZE"),
        ("wsss_shapes", "INPUT.TAGS.CROP_SIZE"),
    ],
)
def test_a_crop_is_refused_before_the_backbone_fails_with_it(file, key, tiny_config, weak_batch):
    cfg = tiny_config(CONFIGS / f"{file}.yaml", *HRNET, key, "49")
    model = build_model(cfg).train()
    with pytest.raises(InputError) as told, EventStorage(0):
        model(weak_batch(cfg))
    assert str(told.value) == f"{key} is 49, {MULTIPLES} 32 or 64"


@pytest.mark.parametrize(
    ("file", "key", "value", "fitting"),
    [
        ("bestie_shapes", "MODEL.BESTIE.SIZE_DIVISIBILITY", "48", "32 or 64"),
        ("wsss_shapes", "MODEL.WSSS.TEST.SIZE_DIVISIBILITY", "1", "32"),
    ],
)
def test_what_test_sizes_are_rounded_to_is_refused(file, key, value, fitting, tiny_config):
    with pytest.raises(InputError) as told:
        build_model(tiny_config(CONFIGS / f"{file}.yaml", *HRNET, key, value))
    assert str(told.value) == f"{key} is {value}, {MULTIPLES} {fitting}"


def test_any_crop_does_for_the_dual_decoder_on_resnet(tiny_config, weak_batch):
    cfg = tiny_config(CONFIGS / "bestie_voc_R50.yaml", "INPUT.BESTIE.CROP_SIZE", "49")
    with EventStorage(0):
        losses = build_model(cfg).train()(weak_batch(cfg))
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (1.0, -0.5), (float("inf"),)])
def test_scales_that_leave_nothing_to_see_are_refused(scales, tiny_config):
    key = "MODEL.WSSS.TEST.SCALES"
    cfg = tiny_config(CONFIGS / "wsss_shapes.yaml")
    cfg.defrost()
    cfg.MODEL.WSSS.TEST.SCALES = scales
    with pytest.raises(InputError, match=f"^{key} is .* expected numbers above 0, at least one$"):
        build_model(cfg)
