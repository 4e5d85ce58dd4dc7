"""The released networks, rebuilt from their key lists and a rule for the weights."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from bestie_d2.checkpoint import BestieCheckpointer, load_released_bestie, load_released_pam
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.labeling.cues import activation_maps

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NETWORKS = {
    "hrnet32": ("bestie_voc.yaml", ["MODEL.HRNET.ARCHITECTURE", "hrnet_w32"]),
    "hrnet48": ("bestie_voc.yaml", []),
    "resnet50": ("bestie_voc_R50.yaml", []),
}
RELATIVE_TOLERANCE = 1e-3  # of the output's standard deviation, as the vectors' README states


def ruled_tensor(name: str, shape: list[int]) -> torch.Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        return 1 + 0.1 * noise.abs()
    if name.endswith("running_mean"):
        return 0.1 * noise
    if noise.dim() == 1:
        return 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    return noise * (0.5 / (noise.numel() / shape[0])) ** 0.5


def build(name: str):
    config_file, overrides = NETWORKS[name]
    common = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    return build_model(load_config(str(CONFIGS / config_file), common + overrides)).eval()


@pytest.fixture(params=sorted(NETWORKS))
def released(request, shared: Path, tmp_path: Path) -> tuple[str, dict, str]:
    """Name, state dict and file of a checkpoint in the released naming."""
    keys = json.loads((shared / "reference" / f"released_{request.param}_keys.json").read_text())
    state = {name: ruled_tensor(name, shape) for name, shape in keys.items()}
    path = str(tmp_path / "released.pt")
    torch.save({"model": state}, path)
    return request.param, state, path


def assert_same_outputs(model, vectors: dict[str, np.ndarray]) -> None:
    image = torch.from_numpy(vectors["input"])
    with torch.no_grad():
        maps = model.head(model.backbone(image), tuple(image.shape[-2:]))
    for ours, name in ((maps.sem_seg, "seg"), (maps.center, "center"), (maps.offset, "offset")):
        theirs = vectors[name]
        assert np.abs(ours.numpy() - theirs).max() < RELATIVE_TOLERANCE * theirs.std()


def test_released_checkpoint_gives_the_released_output(released, shared):
    name, state, path = released
    vectors = dict(np.load(shared / "reference" / f"released_{name}_forward.npz"))
    model = build(name)
    load_released_bestie(model, path)
    assert_same_outputs(model, vectors)

    through_weights = build(name)
    BestieCheckpointer(through_weights).load(path)
    assert_same_outputs(through_weights, vectors)

    dropped = next(iter(state))
    torch.save({"extra": state[dropped], **{k: state[k] for k in state if k != dropped}}, path)
    with pytest.raises(InputError, match=r"missing backbone\.body\.\S+; left over .*extra"):
        load_released_bestie(model, path)


@pytest.fixture
def released_pam(shared: Path, tmp_path: Path) -> tuple[dict, str]:
    """State dict and file of a PAM classifier in the released naming, every tensor twice in it."""
    keys = json.loads((shared / "reference" / "released_pam_vgg16_keys.json").read_text())
    alias = json.loads((shared / "reference" / "released_pam_vgg16_aliases.json").read_text())
    state = {name: ruled_tensor(alias.get(name, name), shape) for name, shape in keys.items()}
    path = str(tmp_path / "PAM.pth")
    torch.save(state, path)
    return state, path


def build_pam():
    common = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    return build_model(load_config(str(CONFIGS / "pam_voc.yaml"), common)).eval()


def test_released_pam_gives_the_released_logits_and_maps(released_pam, shared):
    state, path = released_pam
    vectors = dict(np.load(shared / "reference" / "released_pam_vgg16_forward.npz"))
    image = torch.from_numpy(vectors["input"])
    tags = torch.from_numpy(vectors["image_classes"]).bool().flatten()
    strict, through_weights = build_pam(), build_pam()
    load_released_pam(strict, path)
    BestieCheckpointer(through_weights, whole=True).load(path)
    for model in (strict, through_weights):
        with torch.no_grad():
            raw = model.class_activation_maps(image)
        logits = raw.mean(dim=(-2, -1)).numpy()
        assert np.abs(logits - vectors["logits"]).max() < RELATIVE_TOLERANCE * logits.std()
        maps = np.zeros(vectors["cam"].shape[1:], np.float32)
        maps[tags] = activation_maps(raw[0, tags], tuple(image.shape[-2:])).numpy()
        assert np.abs(maps - vectors["cam"][0]).max() < RELATIVE_TOLERANCE * vectors["cam"].std()

    torch.save({k: v for k, v in state.items() if k != "extra_conv4.bias"}, path)
    with pytest.raises(InputError, match=r"missing head\.extra_conv4\.bias$"):
        load_released_pam(strict, path)
