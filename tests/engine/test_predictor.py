"""Single pictures through a trained run's folder, which needs nothing but itself."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer
from PIL import Image

from bestie_d2 import BESTIEPredictor
from bestie_d2.data import EvaluationMapper
from bestie_d2.engine.configuration import load_run_config
from bestie_d2.engine.predictor import PredictionRecipe, crops_of
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.model_keys import with_keys
from bestie_d2.modeling.tiles import Tiling

ALL = PredictionRecipe(threshold=0.0)
MASK_RCNN_YAML = """
_BASE_: "{configs}/mrcnn_shapes.yaml"
MODEL: {{DEVICE: "cpu"}}
DATASETS: {{CUSTOM: [], TRAIN: ["gone"]}}
OUTPUT_DIR: "{folder}/output"
"""


@pytest.fixture(scope="module")
def predictor(finished_run) -> BESTIEPredictor:
    return BESTIEPredictor.from_run(finished_run, ALL)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(60, 90, 3) RGB."""
    values = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(values, (0, 0), 3).astype(float)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def same(one, other) -> bool:
    return (
        torch.equal(one.pred_masks, other.pred_masks)
        and torch.equal(one.scores, other.scores)
        and torch.equal(one.pred_classes, other.pred_classes)
        and torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
    )


def test_a_moved_run_finds_what_its_evaluation_would(predictor, picture, tmp_path):
    assert predictor.metadata.thing_classes == ["cat", "hund"]
    found = predictor(Image.fromarray(picture))
    path = str(tmp_path / "a.png")
    Image.fromarray(picture).save(path)
    item = EvaluationMapper(predictor.cfg)({"file_name": path})
    assert item["image"].shape == (3, 96, 144)
    model, _ = load_trained_model(predictor.cfg)
    expected = model.eval()([item])[0]["instances"]
    assert len(found) == len(expected) > 3
    expected = expected[torch.sort(expected.scores, descending=True, stable=True).indices]
    assert torch.equal(found.pred_masks, expected.pred_masks)
    assert found.scores.tolist() == expected.scores.tolist()
    assert found.pred_boxes.tensor.tolist() == expected.pred_boxes.tensor.tolist()
    assert found.image_size == (60, 90)


def test_pictures_come_in_any_form(predictor, picture, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    first, *others = predictor(
        [path, str(path), Image.fromarray(picture), picture[..., ::-1], cv2.imread(str(path))]
    )
    assert len(first) > 3
    assert all(same(first, other) for other in others)
    assert not same(first, predictor(picture))
    rgb = BESTIEPredictor(predictor.cfg, predictor.model, ALL, array_format="RGB")
    assert same(first, rgb(picture))
    assert predictor([]) == []


def test_what_others_do_with_the_instances(predictor, picture):
    found = predictor(picture)
    drawn = Visualizer(picture, predictor.metadata).draw_instance_predictions(found).get_image()
    assert (drawn != picture).any()
    # What supervision.Detections.from_detectron2 reads of its argument.
    assert found["instances"] is found
    assert found["instances"].pred_boxes.tensor.cpu().numpy().shape == (len(found), 4)
    assert found["instances"].pred_masks.cpu().numpy().shape == (len(found), 60, 90)
    assert len(found[found.scores > 0.5]) == (found.scores > 0.5).sum()


def test_the_threshold_the_scale_and_tiles(predictor, picture):
    def found(*recipe) -> Instances:
        return BESTIEPredictor(predictor.cfg, predictor.model, PredictionRecipe(*recipe))(picture)

    scores = predictor(picture).scores
    middle = float(scores.median())
    assert found(middle).scores.tolist() == scores[scores >= middle].tolist()
    tiled = found(0.0, Tiling(96, 32))
    assert len(tiled) > 3
    assert tiled.image_size == (60, 90)
    assert same(found(0.0, Tiling(144, 32)), predictor(picture))  # one tile
    assert not same(found(0.0, Tiling(), 2.0), predictor(picture))


def test_no_object_takes_a_mask_of_the_whole_picture(predictor, picture, monkeypatch):
    expected = predictor(picture)
    monkeypatch.setattr("bestie_d2.modeling.meta_arch.bestie.group_instances", None)
    found = predictor.find(predictor.read(picture))
    assert [item.score for item in found] == expected.scores.tolist()


@pytest.mark.parametrize(
    ("recipe", "keys", "size", "seen"),
    [
        (ALL, {}, (60, 90), (96, 144)),
        (ALL, {}, (1, 9000), (1, 200)),
        (ALL, {"INPUT.TEST_SIDE": 64}, (60, 90), (64, 64)),
        (ALL, {"INPUT.MIN_SIZE_TEST": 0}, (60, 90), (60, 90)),
        (PredictionRecipe(scale=3.0), {}, (60, 90), (180, 270)),
        (PredictionRecipe(scale=0.1), {}, (4, 90), (1, 9)),
    ],
)
def test_what_the_network_sees(predictor, recipe, keys, size, seen):
    assert recipe.seen_size(with_keys(predictor.cfg, keys), *size) == seen


def test_the_configuration_is_whole_and_fits_this_machine(finished_run, tmp_path):
    content = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert "_BASE_" not in content
    assert content["MODEL"]["BESTIE"]["TEST"]["KERNEL"] == 11
    assert content["DATASETS"]["CUSTOM"][0]["tags"].endswith("tags.csv")
    other = tmp_path / "of a machine with a GPU"
    shutil.copytree(finished_run, other)
    text = (finished_run / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("DEVICE: cpu", "DEVICE: cuda"))
    device = load_run_config(other).MODEL.DEVICE
    assert device == ("cuda" if torch.cuda.is_available() else "cpu")


def test_mask_rcnn(finish_run, tmp_path, picture):
    run = finish_run(tmp_path, MASK_RCNN_YAML, ["a", "b", "c", "d"])
    few = ["MODEL.RPN.POST_NMS_TOPK_TEST", "9", "INPUT.MIN_SIZE_TEST", "64"]
    recipe = PredictionRecipe(0.0, Tiling(64, 0))
    predictor = BESTIEPredictor.from_run(run, recipe, overrides=few)
    found = predictor(picture)
    assert predictor.metadata.thing_classes == ["a", "b", "c", "d"]
    assert found.pred_masks.shape[1:] == (60, 90)
    for crop, mask in zip(crops_of(found), found.pred_masks, strict=True):
        assert crop.mask.sum() == mask.sum()


def test_what_is_refused(finished_run, predictor, tmp_path):
    with pytest.raises(InputError, match=r"no config\.yaml there"):
        BESTIEPredictor.from_run(tmp_path)
    shutil.copy(finished_run / "config.yaml", tmp_path)
    with pytest.raises(InputError, match=r"no model_final\.pth, so its training is not"):
        BESTIEPredictor.from_run(tmp_path)
    with pytest.raises(InputError, match="array_format is 'HSV'"):
        BESTIEPredictor(predictor.cfg, predictor.model, array_format="HSV")
    with pytest.raises(InputError, match="finds no masks"):
        BESTIEPredictor.from_run(
            finished_run, overrides=["MODEL.META_ARCHITECTURE", "PAMClassifier"]
        )
    with pytest.raises(InputError, match=r"--confidence-threshold 1\.5"):
        PredictionRecipe(1.5)
    with pytest.raises(InputError, match="--scale 0"):
        PredictionRecipe(scale=0.0)
    with pytest.raises(InputError, match="an array of 5x7x2"):
        predictor(np.zeros((5, 7, 2), np.uint8))
