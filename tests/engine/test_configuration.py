from pathlib import Path

import pytest
import torch

from bestie_d2.engine.configuration import load_config, with_trained_weights
from bestie_d2.errors import InputError


def test_the_device_is_cuda_where_there_is_one():
    assert ("cuda" if torch.cuda.is_available() else "cpu") == load_config().MODEL.DEVICE


def test_overrides_win_and_the_configuration_is_frozen():
    cfg = load_config("", ["MODEL.BESTIE.SIGMA", "2.5"])
    assert cfg.MODEL.BESTIE.SIGMA == 2.5
    with pytest.raises(AttributeError):
        cfg.MODEL.BESTIE.SIGMA = 3.0


def test_whole_numbers_do_for_floats(tmp_path):
    path = tmp_path / "whole.yaml"
    path.write_text("MODEL: {BESTIE: {SIGMA: 3, LOSS: {CENTER_WEIGHT: 7}}}")
    cfg = load_config(str(path), ["MODEL.BESTIE.CLUSTERING.MIN_DISTANCE", "30"])
    values = (
        cfg.MODEL.BESTIE.SIGMA,
        cfg.MODEL.BESTIE.LOSS.CENTER_WEIGHT,
        cfg.MODEL.BESTIE.CLUSTERING.MIN_DISTANCE,
    )
    assert values == (3.0, 7.0, 30.0)
    assert {type(value) for value in values} == {float}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("MODEL: {BESTIE: {SIGMAS: 3}}", "SIGMAS"),
        ("MODEL: {BESTIE: {SIGMA: [1]}}", "SIGMA"),
        ("MODEL: {BESTIE: [", "while parsing"),
        ('_BASE_: "absent.yaml"', "absent.yaml"),
        ("_BASE_: [a.yaml]", "expected one file name"),
        ("[1, 2]", "expected keys and values"),
        ("DATASETS: {CUSTOM: [{name: 5, images: y}]}", "'name' is 5, expected text"),
        ("DATASETS: {CUSTOM: [{name: x, images: y, classes: fish}]}", "expected a list"),
        ("DATASETS: {CUSTOM: [{name: x, image: y}]}", "unknown key 'image'"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        load_config(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("overrides", [["MODEL.BESTIE.SIGMA"], ["NO.SUCH", "1"]])
def test_wrong_overrides_are_told(overrides):
    with pytest.raises(InputError, match=overrides[0].replace(".", r"\.")):
        load_config("", overrides)


def test_a_trained_model_is_the_last_checkpoint_unless_weights_are_named(tmp_path):
    (tmp_path / "start.pth").touch()
    yaml = tmp_path / "run.yaml"
    yaml.write_text(f'MODEL:\n  WEIGHTS: "{tmp_path}/start.pth"\nOUTPUT_DIR: "{tmp_path}"\n')

    def weights(*overrides: str) -> str:
        cfg = load_config(str(yaml), overrides)
        return Path(with_trained_weights(cfg, overrides).MODEL.WEIGHTS).name

    assert weights() == "start.pth"  # nothing has been trained yet
    (tmp_path / "last_checkpoint").write_text("model_0000007.pth")
    (tmp_path / "model_0000007.pth").touch()
    assert weights() == "model_0000007.pth"
    assert weights("SEED", "3", "MODEL.WEIGHTS", str(tmp_path / "start.pth")) == "start.pth"
    with pytest.raises(InputError, match=r"MODEL\.WEIGHTS nowhere\.pth: no such file"):
        weights("MODEL.WEIGHTS", "nowhere.pth")
    (tmp_path / "last_checkpoint").unlink()
    with pytest.raises(InputError, match="has no checkpoint"):
        weights("MODEL.WEIGHTS", "")
