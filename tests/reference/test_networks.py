"""The released networks, rebuilt from their key lists and a rule for the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from reference_vectors import read_outputs, read_state, ruled_input

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.labeling.cues import activation_maps
from bestie_d2.weights.checkpoint import BestieCheckpointer, load_released_bestie, load_released_pam

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NETWORKS = {
    "hrnet32": ("bestie_voc.yaml", ["MODEL.HRNET.ARCHITECTURE", "hrnet_w32"]),
    "hrnet48": ("bestie_voc.yaml", []),
    "resnet50": ("bestie_voc_R50.yaml", []),
}
SOURCES = [
    ("excerpt", "hrnet32"),
    ("excerpt", "resnet50"),
    *(("whole", network) for network in NETWORKS),
]
RELATIVE_TOLERANCE = 1e-3  # of the output's standard deviation, as the vectors' README states


def build(name: str):
    config_file, overrides = NETWORKS[name]
    common = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    return build_model(load_config(str(CONFIGS / config_file), common + overrides)).eval()


@pytest.fixture
def released(reference: Path, network: str, tmp_path: Path) -> tuple[dict, str]:
    """State dict and file of a checkpoint in the released naming."""
    state = read_state(reference, network)
    path = str(tmp_path / "released.pt")
    torch.save({"model": state}, path)
    return state, path


def assert_same_outputs(model, outputs: dict[str, np.ndarray], step: int) -> None:
    image = ruled_input()
    with torch.no_grad():
        maps = model.head(model.backbone(image), tuple(image.shape[-2:]))
    for ours, name in ((maps.sem_seg, "seg"), (maps.center, "center"), (maps.offset, "offset")):
        theirs = outputs[name]
        difference = np.abs(ours.numpy()[..., ::step, ::step] - theirs)
        assert difference.max() < RELATIVE_TOLERANCE * theirs.std()


@pytest.mark.parametrize(("reference", "network"), SOURCES, indirect=["reference"])
def test_released_checkpoint_gives_the_released_output(reference, network, released):
    state, path = released
    expected = read_outputs(reference, network)
    model = build(network)
    load_released_bestie(model, path)
    assert_same_outputs(model, *expected)

    through_weights = build(network)
    BestieCheckpointer(through_weights).load(path)
    assert_same_outputs(through_weights, *expected)

    dropped = next(iter(state))
    torch.save({"extra": state[dropped], **{k: state[k] for k in state if k != dropped}}, path)
    with pytest.raises(InputError, match=r"missing backbone\.body\.\S+; left over .*extra"):
        load_released_bestie(model, path)


@pytest.fixture
def released_pam(reference: Path, tmp_path: Path) -> tuple[dict, str]:
    """State dict and file of a PAM classifier in the released naming, every tensor twice in it."""
    state = read_state(reference, "pam_vgg16")
    path = str(tmp_path / "PAM.pth")
    torch.save(state, path)
    return state, path


def build_pam():
    common = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    return build_model(load_config(str(CONFIGS / "pam_voc.yaml"), common)).eval()


@pytest.mark.parametrize("reference", ["excerpt", "whole"], indirect=True)
def test_released_pam_gives_the_released_logits_and_maps(reference, released_pam):
    state, path = released_pam
    outputs, step = read_outputs(reference, "pam_vgg16")
    image = ruled_input()
    tags = torch.from_numpy(outputs["image_classes"]).bool().flatten()
    strict, through_weights = build_pam(), build_pam()
    load_released_pam(strict, path)
    BestieCheckpointer(through_weights, whole=True).load(path)
    for model in (strict, through_weights):
        with torch.no_grad():
            raw = model.class_activation_maps(image)
        logits = raw.mean(dim=(-2, -1)).numpy()
        assert np.abs(logits - outputs["logits"]).max() < RELATIVE_TOLERANCE * logits.std()
        cam = outputs["cam"][0]
        tagged = activation_maps(raw[0, tags], tuple(image.shape[-2:])).numpy()
        maps = np.zeros_like(cam)
        maps[tags] = tagged[:, ::step, ::step]
        assert np.abs(maps - cam).max() < RELATIVE_TOLERANCE * cam.std()

    torch.save({k: v for k, v in state.items() if k != "extra_conv4.bias"}, path)
    with pytest.raises(InputError, match=r"missing head\.extra_conv4\.bias$"):
        load_released_pam(strict, path)
