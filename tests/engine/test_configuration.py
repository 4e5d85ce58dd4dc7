import pytest
import torch

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError


def test_the_device_is_cuda_where_there_is_one():
    assert ("cuda" if torch.cuda.is_available() else "cpu") == load_config().MODEL.DEVICE


def test_overrides_win_and_the_configuration_is_frozen():
    cfg = load_config("", ["MODEL.BESTIE.SIGMA", "2.5"])
    assert cfg.MODEL.BESTIE.SIGMA == 2.5
    with pytest.raises(AttributeError):
        cfg.MODEL.BESTIE.SIGMA = 3.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("MODEL: {BESTIE: {SIGMAS: 3}}", "SIGMAS"),
        ("MODEL: {BESTIE: {SIGMA: [1]}}", "SIGMA"),
        ("MODEL: {BESTIE: [", "while parsing"),
        ('_BASE_: "absent.yaml"', "absent.yaml"),
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
