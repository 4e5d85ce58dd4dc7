from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.modeling.heads.wsss import GlobalCueInjection, StochasticGate
from bestie_d2.modeling.wsss_maps import (
    mean_over_superpixels,
    mean_over_views,
    normalized,
    possible_indices,
    suppress_background,
)
from bestie_d2.ops.mask_refinement import refine_masks
from bestie_d2.weights.checkpoint import BestieCheckpointer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHAPES = str(CONFIGS / "wsss_shapes.yaml")
CLASSIFIER = str(CONFIGS / "pam_shapes.yaml")
VOC = str(CONFIGS / "wsss_voc.yaml")
WITH_GLOBAL_CUES = (
    "MODEL.WSSS.PSI", "0.3",
    "MODEL.WSSS.ASPP_IMAGE_POOLING", "True",
    "MODEL.WSSS.ASPP_RATES", "(1, 2)",
)  # fmt: skip
NEAR_NEIGHBOURS = ("MODEL.WSSS.PAMR.DILATIONS", "(1, 2)")  # for maps of 16 x 16 pixels


def config(*overrides, file=SHAPES):
    return load_config(file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *overrides])


def batch(count=2, side=64):
    tags = torch.tensor([[True, False, False, False], [True, True, False, False]])
    return [
        {
            "image": torch.randint(0, 255, (3, side, side), dtype=torch.uint8),
            "image_classes": tags[index % 2],
        }
        for index in range(count)
    ]


def confident_logits():
    """Background, and in each of two images one square of each of the first two classes."""
    logits = torch.full((2, 4, 16, 16), -2.0)
    logits[:, 0, 1:7, 1:7] = 4.0
    logits[:, 1, 9:15, 9:15] = 4.0
    return logits


class Recorded(nn.Module):
    """A head that gives the same logits whatever it sees."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, features):
        return self.logits


def test_starts_from_the_backbone_of_the_pam_classifier(tmp_path):
    classifier = build_model(config(file=CLASSIFIER))
    path = tmp_path / "classifier.pth"
    torch.save({"model": classifier.state_dict()}, path)
    model = build_model(config())
    BestieCheckpointer(model).load(str(path))
    given = {k: v for k, v in classifier.backbone.state_dict().items() if "num_batches" not in k}
    loaded = model.backbone.state_dict()
    assert loaded.keys() == given.keys()
    assert all(torch.equal(loaded[key], value) for key, value in given.items())


@pytest.mark.parametrize("overrides", [(), WITH_GLOBAL_CUES])
def test_trains_and_uses_every_parameter(overrides):
    model = build_model(config("MODEL.WSSS.MASK_LOSS_START", "0", *overrides)).train()
    with EventStorage(0):
        losses = model(batch())
    assert set(losses) == {"loss_tags", "loss_masks"}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_the_mask_loss_waits_for_its_first_iteration():
    model = build_model(config("MODEL.WSSS.MASK_LOSS_START", "7", *NEAR_NEIGHBOURS)).train()
    model.head = Recorded(confident_logits())
    examples = batch()
    with EventStorage(6):
        early = model(examples)
    with EventStorage(7):
        late = model(examples)
    assert set(early) == set(late) == {"loss_tags", "loss_masks"}
    assert early["loss_masks"] == 0
    assert early["loss_masks"].requires_grad
    assert late["loss_masks"] > 0
    assert late["loss_tags"] == early["loss_tags"]


def test_the_mask_loss_has_its_weight():
    examples = batch()
    values = []
    for weight in ("1.0", "3.0"):
        model = build_model(
            config(
                "MODEL.WSSS.MASK_LOSS_START", "0",
                "MODEL.WSSS.MASK_LOSS_WEIGHT", weight,
                *NEAR_NEIGHBOURS,
            )
        ).train()  # fmt: skip
        model.head = Recorded(confident_logits())
        with EventStorage(0):
            values.append(model(examples)["loss_masks"].item())
    assert values[1] == pytest.approx(3 * values[0])
    assert values[0] > 0


def test_pseudo_masks_see_a_suppressed_background():
    """A class that nowhere beats the background gets pseudo masks once that is suppressed."""
    logits = confident_logits() - 2.0
    values = []
    for power in ("1.0", "30.0"):
        model = build_model(
            config(
                "MODEL.WSSS.MASK_LOSS_START", "0",
                "MODEL.WSSS.BACKGROUND_LOGIT", "4.0",
                "MODEL.WSSS.PSEUDO.BACKGROUND_POWER", power,
                *NEAR_NEIGHBOURS,
            )
        ).train()  # fmt: skip
        model.head = Recorded(logits)
        with EventStorage(0):
            values.append(model(batch())["loss_masks"].item())
    assert values[0] == 0
    assert values[1] > 0


def test_an_image_without_tags_trains():
    model = build_model(config("MODEL.WSSS.MASK_LOSS_START", "0")).train()
    examples = [{**item, "image_classes": torch.zeros(4, dtype=torch.bool)} for item in batch()]
    with EventStorage(0):
        losses = model(examples)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_inference_gives_probabilities_at_the_original_size():
    model = build_model(config("MODEL.WSSS.TEST.SCALES", "(1.0, 0.5)")).eval()
    image = torch.randint(0, 255, (3, 50, 70), dtype=torch.uint8)
    (output,) = model([{"image": image, "height": 100, "width": 140}])
    assert output["sem_seg"].shape == (5, 100, 140)
    torch.testing.assert_close(output["sem_seg"].sum(dim=0), torch.ones(100, 140))
    (same,) = model([{"image": image}])
    assert same["sem_seg"].shape == (5, 50, 70)


@pytest.mark.parametrize("image_classes", [[2], torch.tensor([False, False, True, False])])
def test_tags_remove_the_other_classes(image_classes):
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    model = build_model(config()).eval()
    (output,) = model([{"image": image, "image_classes": image_classes}])
    assert (output["sem_seg"][[1, 2, 4]] == 0).all()
    assert (output["sem_seg"][3] > 0).all()
    model = build_model(config("MODEL.WSSS.TEST.USE_TAGS", "False")).eval()
    (output,) = model([{"image": image, "image_classes": image_classes}])
    assert (output["sem_seg"] > 0).all()


def test_flip_averaging_is_blind_to_the_mirror():
    model = build_model(config("MODEL.WSSS.TEST.FLIP", "True")).eval()
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    ((one,), (other,)) = (model([{"image": seen}]) for seen in (image, image.flip(-1)))
    torch.testing.assert_close(one["sem_seg"], other["sem_seg"].flip(-1))


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_masks_may_be_refined_at_the_size_of_the_image_or_smaller(scale):
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    keys = ("MODEL.WSSS.PAMR.DILATIONS", "(1, 3)", "MODEL.WSSS.TEST.FLIP", "False")
    keys += ("MODEL.WSSS.TEST.PAMR_SCALE", str(scale), "MODEL.WSSS.TEST.PAMR_ITERATIONS", "3")
    model = build_model(config(*keys)).eval()
    model.head = Recorded(confident_logits()[:1])
    (refined,) = model([{"image": image}])
    model.output_refinement = {"scale": scale, "pamr": None, "superpixels": ()}
    (rough,) = model([{"image": image}])
    seen, masks = (
        torch.nn.functional.interpolate(maps[None].float(), scale_factor=scale, mode="bilinear")
        for maps in (image, rough["sem_seg"])
    )
    expected = refine_masks(seen, masks, dilations=(1, 3), iterations=3)
    expected = torch.nn.functional.interpolate(expected, size=(64, 64), mode="bilinear")[0]
    torch.testing.assert_close(refined["sem_seg"], expected, rtol=1e-3, atol=1e-4)
    assert (refined["sem_seg"] - rough["sem_seg"]).abs().max() > 0.1


def test_a_pixel_takes_the_mean_of_its_superpixel():
    image, masks = torch.zeros(1, 3, 8, 16), torch.zeros(1, 2, 8, 16)
    image[..., 4:] = 200  # two superpixels, of 32 and 96 pixels
    masks[:, 0, 0, 0] = 1  # one pixel of the first
    masks[:, 1, :, 4:10] = 1  # half of the second
    means = mean_over_superpixels(image, masks, (40.0,))
    expected = torch.zeros(2, 16)
    expected[0, :4], expected[1, 4:] = 1 / 32, 0.5
    torch.testing.assert_close(means, expected[None, :, None].expand(1, 2, 8, 16))
    # Of the largest scale both are one superpixel.
    both = mean_over_superpixels(image, masks, (40.0, 1000.0))
    expected = (expected + torch.tensor([[1 / 128], [48 / 128]])) / 2
    torch.testing.assert_close(both, expected[None, :, None].expand(1, 2, 8, 16))


def test_superpixels_come_before_the_power():
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, :, 32:] = 200
    keys = ("MODEL.WSSS.TEST.PAMR", "False", "MODEL.WSSS.TEST.SUPERPIXELS", "(1000.0,)")
    model = build_model(config(*keys, "MODEL.WSSS.TEST.BACKGROUND_POWER", "2.0")).eval()
    (even,) = model([{"image": image}])
    assert len(even["sem_seg"][0].unique()) == 2  # one value for each half
    model.output_refinement, model.background_power = dict(model.output_refinement), 1.0
    model.output_refinement["superpixels"] = ()
    (rough,) = model([{"image": image}])
    halves = rough["sem_seg"].unflatten(2, (2, 32)).mean(dim=(1, 3))
    halves = suppress_background(halves[None, :, None], 2.0)[0, :, 0]
    for half, expected in zip((0, -1), halves.T, strict=True):
        torch.testing.assert_close(even["sem_seg"][:, 0, half], expected)


def test_views_are_averaged_with_sides_on_the_grid():
    seen = []

    def brightness(images):
        seen.append(tuple(images.shape[-2:]))
        return images[:, :1] * len(seen)

    images = torch.ones(1, 3, 40, 60)
    mean = mean_over_views(
        brightness, images, (20, 30), scales=(1.0, 0.5), size_divisibility=16, flip=True
    )
    assert seen == [(32, 64), (32, 64), (16, 32), (16, 32)]
    torch.testing.assert_close(mean, torch.full((1, 1, 20, 30), 2.5))


def test_small_functions_by_hand():
    masks = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1)
    assert normalized(masks[:, [0, 2]]).flatten().tolist() == pytest.approx([5 / 7, 2 / 7])
    assert possible_indices([1, 3]) == [0, 2, 4]
    assert possible_indices(torch.tensor([False, True, False, True])) == [0, 2, 4]
    assert possible_indices([]) == [0]
    powered = suppress_background(masks, 3.0).flatten().tolist()
    assert powered == pytest.approx([0.2, 0.48, 0.32])


def test_the_gate_mixes_at_random_in_training_and_evenly_afterwards():
    gate = StochasticGate(0.3)
    deep, shallow = torch.zeros(200_000), torch.ones(200_000)
    mixed = gate(deep, shallow)
    assert set(mixed.tolist()) == {0.0, 1.0}
    assert mixed.mean().item() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(gate.eval()(deep, shallow), torch.full((200_000,), 0.3))


@pytest.mark.parametrize(
    ("overrides", "reach"),
    [
        ((), False),
        (("MODEL.WSSS.PSI", "0.3"), True),
        (("MODEL.WSSS.ASPP_IMAGE_POOLING", "True"), True),
    ],
)
def test_without_global_cues_far_pixels_do_not_matter(overrides, reach):
    model = build_model(config(*overrides)).eval()
    image = torch.randn(1, 3, 128, 128)
    changed = image.clone()
    changed[..., 100:] += 3.0
    one, other = (model.head(model.backbone(seen))[..., :12] for seen in (image, changed))
    assert torch.allclose(one, other, atol=1e-5) != reach


def test_the_cue_of_the_whole_image_reaches_every_pixel():
    injection = GlobalCueInjection(2, 3).eval()
    shallow, deep = torch.rand(1, 2, 4, 4), torch.zeros(1, 3, 2, 2)
    before = injection(shallow, deep)
    deep[..., 1, 1] = 5.0
    assert before.shape == (1, 3, 4, 4)
    assert not torch.allclose(before, injection(shallow, deep))


def test_pre_trained_batch_norm_is_frozen_in_the_backbone_alone():
    model = build_model(config(file=VOC)).train()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in model.backbone.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.head.modules())
    trained = build_model(config("MODEL.WSSS.FREEZE_BACKBONE_NORM", "False"))
    assert any(isinstance(m, nn.BatchNorm2d) for m in trained.backbone.modules())


@pytest.mark.parametrize("key", ["DEEP_FEATURE", "SHALLOW_FEATURE"])
def test_a_wrong_feature_is_named_with_the_right_ones(key):
    with pytest.raises(InputError, match=rf"MODEL.WSSS.{key} is 'res9'; choose from .*block5"):
        build_model(config(f"MODEL.WSSS.{key}", "res9"))


def test_the_crf_asks_for_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(InputError, match=r"MODEL\.WSSS\.TEST\.CRF .*pip install"):
        build_model(config("MODEL.WSSS.TEST.CRF", "True"))


def test_the_crf_is_given_image_and_probabilities(monkeypatch):
    """Against a stand-in for a package that the index has no working build of."""
    given = {}

    class Field:
        def __init__(self, width, height, labels):
            given["shape"] = (labels, height, width)

        def setUnaryEnergy(self, unary):
            given["unary"] = unary

        def addPairwiseGaussian(self, **arguments):
            pass

        def addPairwiseBilateral(self, *, rgbim, **arguments):
            given["image"] = rgbim

        def inference(self, iterations):
            return given["unary"].reshape(len(given["unary"]), -1)

    package, densecrf, utils = (ModuleType(n) for n in ("pydensecrf", "densecrf", "utils"))
    densecrf.DenseCRF2D = Field
    utils.unary_from_softmax = lambda masks: masks
    package.densecrf = densecrf
    for module, name in ((package, ""), (densecrf, ".densecrf"), (utils, ".utils")):
        monkeypatch.setitem(sys.modules, f"pydensecrf{name}", module)
    model = build_model(config("MODEL.WSSS.TEST.CRF", "True")).eval()
    image = torch.randint(0, 255, (3, 48, 64), dtype=torch.uint8)
    (output,) = model([{"image": image}])
    assert given["shape"] == (5, 48, 64)
    np.testing.assert_array_equal(given["image"], image.permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(given["unary"], output["sem_seg"].numpy())
