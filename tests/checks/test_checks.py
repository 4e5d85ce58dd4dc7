"""Configurations that would fail late are refused early, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bestie_d2.checks.training import PROGRESS, check_config, check_sides_of_images, check_test_sets
from bestie_d2.data import register_weak_dataset
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError

SHAPES = str(Path(__file__).resolve().parents[2] / "configs" / "bestie_shapes.yaml")
CPU = ["MODEL.DEVICE", "cpu"]
RLE = {"size": [4, 4], "counts": "013000000"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.MAX_ITER", "0", "SOLVER.MAX_ITER is 0, expected more than 0"),
        ("SOLVER.IMS_PER_BATCH", "-1", "more than 0"),
        ("SOLVER.HEAD_LR_FACTOR", "0", "SOLVER.HEAD_LR_FACTOR is 0.0, expected more than 0"),
        ("INPUT.BESTIE.CROP_SIZE", "0", "more than 0"),
        ("INPUT.BESTIE.CROP_SIZE", "None", "is None, expected more than 0"),
        ("MODEL.WSSS.TEST.SIZE_DIVISIBILITY", "0", "more than 0"),
        ("MODEL.BESTIE.SIGMA", "0", "more than 0"),
        ("DATALOADER.NUM_WORKERS", "-1", "DATALOADER.NUM_WORKERS is -1, expected 0 or more"),
        ("TEST.LABEL_PROGRESS.IMAGES", "-1", "LABEL_PROGRESS.IMAGES is -1, expected 0 or more"),
        ("MODEL.BESTIE.TEST.KERNEL", "4", "TEST.KERNEL is 4, expected an odd number"),
        ("MODEL.BESTIE.REFINEMENT.KERNEL", "-1", "odd number"),
        ("INPUT.BESTIE.SCALE_RANGE", "[1.0]", "expected [smallest, largest]"),
        ("INPUT.BESTIE.SCALE_RANGE", "[1.3, 0.7]", "expected [smallest, largest]"),
        ("INPUT.BESTIE.SCALE_RANGE", "['a', 'b']", "expected [smallest, largest]"),
        ("INPUT.BESTIE.SCALE_RANGE", "[True, 2]", "expected [smallest, largest]"),
        ("INPUT.BESTIE.SCALE_STEP", "-0.1", "SCALE_STEP is -0.1, expected 0 or more"),
        ("INPUT.TAGS.COLOR_JITTER", "[0.3, 0.3, 0.3, 0.6]", "the hue up to 0.5"),
        ("INPUT.TAGS.COLOR_JITTER", "[0.3, 0.3, 0.3]", "expected [brightness, contrast, sat"),
        ("INPUT.TAGS.COLOR_JITTER", "[[0.2, 1.2], 0.0, 0.0, 0.0]", "expected [brightness, con"),
        ("INPUT.TAGS.COLOR_JITTER", "['much']", "COLOR_JITTER is ['much'], expected [bright"),
        ("MODEL.BESTIE.SIGMA_BY_SIZE", "-0.2", "SIGMA_BY_SIZE is -0.2, expected 0 or more"),
        ("MODEL.WSSS.PAMR.DILATIONS", "()", "DILATIONS is (), expected whole numbers of pixels"),
        ("MODEL.WSSS.PAMR.DILATIONS", "(1, 0)", "DILATIONS is (1, 0), expected whole numbers"),
        ("SOLVER.WARMUP_METHOD", "cosine", "METHOD is 'cosine', expected linear or constant"),
        ("INPUT.MAPPER", "Nobody", "INPUT.MAPPER is 'Nobody'; choose from ImageTagMapper, WeakIn"),
        ("INPUT.TAGS.CROP_SIZE", "0", "more than 0"),
        ("DATALOADER.SAMPLER_TRAIN", "Other", "is 'Other', expected TrainingSampler or Repeat"),
        ("MODEL.LOAD_PROPOSALS", "True", "LOAD_PROPOSALS is True, expected False: files of prop"),
        ("MODEL.PAM.ALPHA", "1.5", "MODEL.PAM.ALPHA is 1.5, expected 0 to 1"),
        ("MODEL.BESTIE.SPLIT_WEIGHT", "-1", "SPLIT_WEIGHT is -1.0, expected 0 to 1"),
        ("MODEL.PAM.CUES.KERNEL", "8", "odd number"),
        ("MODEL.PAM.CUES.KERNEL", "1", "odd number of pixels from 3"),
        ("MODEL.PAM.CUES.MIN_SCORE", "0", "more than 0"),
        ("MODEL.BESTIE.NUM_CLASSES", "255", "MODEL.BESTIE.NUM_CLASSES: 255 classes, and weak maps"),
        ("INPUT.INTENSITY.RANGE", "(9, 3)", "INPUT.INTENSITY.RANGE is (9, 3), expected (lower"),
        ("INPUT.INTENSITY.PERCENTILES", "(1, 999)", "expected (lower, upper) in 0 to 100"),
        ("OUTPUT_DIR", "None", "OUTPUT_DIR is None, expected a folder"),
        ("MODEL.DEVICE", "gpu", "MODEL.DEVICE is 'gpu', expected 'cuda' or 'cpu'"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "all", "CLIP_TYPE is 'all', expected value or norm"),
        ("MODEL.BESTIE.HEAD", "Nobody", "choose from ConvInstanceHead, DualDecoder"),
        ("MODEL.META_ARCHITECTURE", "Nobody", "BESTIE"),
        (
            "MODEL.META_ARCHITECTURE",
            "GeneralizedRCNN",
            f"{PROGRESS}: MODEL.META_ARCHITECTURE is 'G",
        ),
        ("MODEL.BACKBONE.NAME", "nobody", "build_hrnet_backbone"),
        ("MODEL.ROI_HEADS.NAME", "nobody", "StandardROIHeads"),
        ("MODEL.ROI_MASK_HEAD.NAME", "nobody", "ScoredMaskHead"),
    ],
)
def test_a_value_that_cannot_work_is_refused(key, value, message):
    with pytest.raises(InputError) as error:
        check_config(load_config(SHAPES, [*CPU, PROGRESS, "some_set", key, value]))
    assert message in str(error.value)
    assert key.split(".")[-1] in str(error.value)


def test_as_many_classes_as_the_model_can_write():
    """Weak maps hold 254; a classifier alone has no maps."""
    check_config(load_config(SHAPES, [*CPU, "MODEL.BESTIE.NUM_CLASSES", "254"]))
    single_stage, pam = (SHAPES.replace("bestie", name) for name in ("wsss", "pam"))
    check_config(load_config(pam, [*CPU, "MODEL.PAM.NUM_CLASSES", "300"]))
    with pytest.raises(InputError, match=r"^MODEL\.WSSS\.NUM_CLASSES: 300 classes, .* most 254"):
        check_config(load_config(single_stage, [*CPU, "MODEL.WSSS.NUM_CLASSES", "300"]))


HRNET = [
    "MODEL.BACKBONE.NAME",
    "build_hrnet_backbone",
    "MODEL.HRNET.ARCHITECTURE",
    "hrnet_w18_small",
]
RESNET = ["MODEL.BACKBONE.NAME", "build_torchvision_resnet_backbone"]


@pytest.mark.parametrize(
    ("file", "key", "value", "fitting"),
    [
        ("bestie_shapes", "INPUT.BESTIE.CROP_SIZE", "129", "128 or 160"),
        ("bestie_shapes", "INPUT.BESTIE.CROP_SIZE", "16", "32"),
        ("bestie_shapes", "MODEL.BESTIE.SIZE_DIVISIBILITY", "16", "32"),
        ("bestie_shapes", "MODEL.BESTIE.SIZE_DIVISIBILITY", "48", "32 or 64"),
        ("pam_voc", "INPUT.TAGS.CROP_SIZE", "321", "320 or 352"),
        ("wsss_shapes", "INPUT.TAGS.CROP_SIZE", "100", "96 or 128"),
        ("wsss_shapes", "MODEL.WSSS.TEST.SIZE_DIVISIBILITY", "4", "32"),
    ],
)
def test_sizes_that_the_backbone_cannot_take_are_refused(file, key, value, fitting):
    path = SHAPES.replace("bestie_shapes", file)
    with pytest.raises(InputError) as told:
        check_sides_of_images(load_config(path, [*CPU, *HRNET, key, value]))
    assert str(told.value) == (
        f"{key} is {value}, but hrnet_w18_small takes images with sides that are multiples of 32: "
        f"set it to {fitting}"
    )
    check_sides_of_images(load_config(path, [*CPU, *RESNET, key, value]))


def test_the_check_of_sizes_draws_no_random_numbers():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    check_sides_of_images(load_config(SHAPES, CPU))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="there is no GPU"):
        check_config(load_config(SHAPES, ["MODEL.DEVICE", "cuda"]))


@pytest.fixture
def truth(tmp_path, new_name):
    """Registers a set of one class from the given parts of a COCO file; returns its name."""

    def register(**parts) -> str:
        content = {
            "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 4}],
            "categories": [{"id": 3, "name": "cell"}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 1], "area": 4,
                 "segmentation": RLE, "iscrowd": 0}
            ],
        } | parts  # fmt: skip
        name = new_name()
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        register_weak_dataset(name, images=str(tmp_path), annotations=str(path))
        return name

    return register


def checked(name: str, num_classes: int = 1) -> None:
    check_test_sets(
        load_config(
            SHAPES,
            [*CPU, "DATASETS.TEST", f"('{name}',)", "MODEL.BESTIE.NUM_CLASSES", str(num_classes)],
        )
    )


def test_test_sets_are_read_before_training(truth, tmp_path):
    points = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 4}],
        "categories": [{"id": 3, "name": "cell"}],
        "points": [],
    }
    (tmp_path / "points.json").write_text(json.dumps(points))
    checked(truth())
    with pytest.raises(InputError, match=r"NUM_CLASSES is 4, but .* has 1 classes \(cell\)"):
        checked(truth(), num_classes=4)
    with pytest.raises(InputError, match="'nowhere' is not registered"):
        checked("nowhere")
    with pytest.raises(InputError, match="has no images"):
        checked(truth(images=[], annotations=[]))
    checked(truth(annotations=[{"image_id": 1, "category_id": 3, "segmentation": RLE}]))
    with pytest.raises(InputError, match=r"annotations\[0\]: has no 'category_id'"):
        checked(truth(annotations=[{"image_id": 1, "segmentation": RLE}]))
    without = f"{truth()}_points"
    register_weak_dataset(without, images="images", points=str(tmp_path / "points.json"))
    with pytest.raises(InputError, match="has no true masks"):
        checked(without)
