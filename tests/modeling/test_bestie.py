from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from bestie_d2.errors import InputError
from bestie_d2.modeling.heads import InstanceMaps
from bestie_d2.structures import PointCues

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHAPES = CONFIGS / "bestie_shapes.yaml"
LOSSES = {
    "loss_sem_seg",
    "loss_center_pseudo",
    "loss_offset_pseudo",
    "loss_center_refined",
    "loss_offset_refined",
}


@pytest.mark.parametrize("supervision", ["tags", "points"])
@pytest.mark.parametrize("guidance", ["True", "False"])
def test_a_batch_without_any_instance_trains(tiny_config, weak_batch, supervision, guidance):
    cfg = tiny_config(SHAPES, "MODEL.BESTIE.SUPERVISION", supervision, "MODEL.BESTIE.IAG", guidance)
    model = build_model(cfg).train()
    with EventStorage(0):
        losses = model(weak_batch(cfg, objects=0))
    assert set(losses) == LOSSES
    if guidance == "True":
        assert losses["loss_center_pseudo"] == 0
        assert losses["loss_offset_refined"] == 0
    sum(losses.values()).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_both_kinds_of_supervision_teach_centers_and_offsets(tiny_config, weak_batch):
    for supervision in ("tags", "points"):
        cfg = tiny_config(SHAPES, "MODEL.BESTIE.SUPERVISION", supervision)
        with EventStorage(0):
            losses = build_model(cfg).train()(weak_batch(cfg))
        assert losses["loss_center_pseudo"] > 0
        assert losses["loss_offset_pseudo"] > 0
        # an untrained network has no instances of its own, but points are given
        assert (losses["loss_offset_refined"] > 0) == (supervision == "points")


def test_refinement_waits_for_its_first_iteration(tiny_config, weak_batch):
    cfg = tiny_config(
        SHAPES, "MODEL.BESTIE.SUPERVISION", "points", "MODEL.BESTIE.REFINEMENT.START_ITER", "7"
    )
    model = build_model(cfg).train()
    batch = weak_batch(cfg)
    with EventStorage(6):
        early = model(batch)
    with EventStorage(7):
        late = model(batch)
    assert set(early) == set(late) == LOSSES
    assert early["loss_offset_refined"] == 0
    assert late["loss_offset_refined"] > 0
    # alone, the pseudo part counts in full; beside the refined part, half
    halved = late["loss_offset_pseudo"].item() / early["loss_offset_pseudo"].item()
    assert halved == pytest.approx(0.5, rel=0.05)


def test_a_network_without_guidance_is_taught_background_everywhere(tiny_config, weak_batch):
    off = ("MODEL.BESTIE.REFINEMENT.ENABLED", "False")
    guided, unguided = (
        tiny_config(SHAPES, "MODEL.BESTIE.IAG", value, *off) for value in ("True", "False")
    )
    batch = weak_batch(guided)
    torch.manual_seed(0)
    model = build_model(guided)
    torch.manual_seed(0)
    other = build_model(unguided)
    center = torch.full((2, 4, 64, 64), 0.5)
    maps = InstanceMaps(torch.zeros(2, 5, 64, 64), center, torch.zeros(2, 2, 64, 64))
    labels = model.weak_labels(batch)
    with_guidance = model.criterion(maps, labels)["loss_center_pseudo"]
    without = other.criterion(maps, labels)["loss_center_pseudo"]
    error = (center - labels.pseudo.center) ** 2
    weight = labels.pseudo.weight
    expected = 200 * (error * weight[:, None]).sum() / (weight > 0).sum()
    assert float(with_guidance) == pytest.approx(float(expected))
    assert float(without) == pytest.approx(float(200 * error.sum() / weight.numel()))


class FixedMaps(torch.nn.Module):
    """A head that claims one object, in the pixels of whatever size it is asked for."""

    def forward(self, features, size):
        height, width = size
        seg = torch.zeros(1, 5, height, width)
        seg[:, 0] = 5.0
        seg[:, 2, 8 : height - 8, 8 : width - 8] = 10.0
        center = torch.zeros(1, 4, height, width)
        center[0, 1, height // 2, width // 2] = 0.9
        offset = torch.ones(1, 2, height, width) * torch.tensor([3.0, 6.0])[:, None, None]
        return InstanceMaps(seg, center, offset)


def test_inference_returns_instances_at_the_original_size(tiny_config):
    model = build_model(tiny_config(SHAPES)).eval()
    model.head = FixedMaps()
    image = torch.zeros(3, 40, 50, dtype=torch.uint8)
    (output,) = model([{"image": image, "height": 80, "width": 100}])
    instances = output["instances"]
    assert instances.pred_classes.tolist() == [1]
    assert instances.pred_boxes.tensor.tolist() == [[8, 8, 92, 72]]
    assert instances.pred_masks.sum().item() == 64 * 84
    assert 0.85 < instances.scores.item() < 0.9
    (same_size,) = model([{"image": image}])
    assert same_size["instances"].pred_boxes.tensor.tolist() == [[8, 8, 42, 32]]


@pytest.mark.parametrize(("use_points", "objects"), [("False", 1), ("True", 2)])
def test_known_points_are_used_where_they_are_asked_for(tiny_config, use_points, objects):
    model = build_model(tiny_config(SHAPES, "MODEL.BESTIE.TEST.USE_POINTS", use_points)).eval()
    model.head = FixedMaps()
    item = {"image": torch.zeros(3, 40, 50, dtype=torch.uint8), "height": 80, "width": 100}
    # In pixels of the original; its pixels' offsets lead 3 down and 6 to the right.
    yx, count = torch.tensor([[40.0, 20.0], [40.0, 70.0], [2.0, 2.0]]), 3
    cues = PointCues(yx, torch.ones(count, dtype=torch.int64), torch.ones(count))
    assert len(model([{**item, "cues": cues}])[0]["instances"]) == objects
    assert len(model([item])[0]["instances"]) == 1


def test_offsets_are_rescaled_when_the_input_was_resized(tiny_config):
    model = build_model(tiny_config(SHAPES)).eval()
    model.head = FixedMaps()
    # the network sees 64x64 and speaks of its pixels
    _, _, offset = model.predict_maps(torch.zeros(3, 48, 40, dtype=torch.uint8))
    assert offset[:, 0, 0].tolist() == pytest.approx([3 * 48 / 64, 6 * 40 / 64])
    _, _, offset = model.predict_maps(torch.zeros(3, 48, 40, dtype=torch.uint8), (24, 80))
    assert offset.shape == (2, 24, 80)
    assert offset[:, 0, 0].tolist() == pytest.approx([3 * 24 / 64, 6 * 80 / 64])


def test_flip_averaging_mirrors_the_maps_back(tiny_config):
    cfg = tiny_config(SHAPES, "MODEL.BESTIE.TEST.FLIP", "True")
    model = build_model(cfg).eval()
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    both = model.predict_maps(image)
    mirrored = model.predict_maps(image.flip(-1))
    torch.testing.assert_close(both[0], mirrored[0].flip(-1))
    torch.testing.assert_close(both[1], mirrored[1].flip(-1))
    torch.testing.assert_close(both[2][0], mirrored[2][0].flip(-1))
    torch.testing.assert_close(both[2][1], -mirrored[2][1].flip(-1))


def test_an_image_without_instances_gives_empty_instances(tiny_config):
    model = build_model(tiny_config(SHAPES)).eval()
    torch.nn.init.constant_(model.head.seg[-1].bias[:1], 9.0)  # background everywhere
    (output,) = model([{"image": torch.zeros(3, 40, 50, dtype=torch.uint8), "height": 80}])
    assert len(output["instances"]) == 0
    assert output["instances"].pred_masks.shape == (0, 80, 50)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.BESTIE.SUPERVISION", "boxes"),
        ("MODEL.BESTIE.REFINEMENT.FOREGROUND", "both"),
        ("MODEL.BESTIE.REFINEMENT.WEIGHTING", "none"),
        ("MODEL.HRNET.ARCHITECTURE", "hrnet_w19"),
        ("MODEL.HRNET.OUT_FEATURES", "('res9',)"),
    ],
)
def test_a_wrong_choice_is_named_with_the_right_ones(tiny_config, key, value):
    with pytest.raises(InputError, match=key + ".*choose from"):
        build_model(tiny_config(SHAPES, key, value))
