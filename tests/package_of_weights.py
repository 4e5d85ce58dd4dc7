"""A stand-in for the package with EfficientNet-Lite0's ImageNet weights."""

from __future__ import annotations

import pytest
import timm
import torch

BLOCKS_OF_LITE0 = (1, 2, 2, 3, 3, 4, 1)


def as_lukemelas_names_it(key: str) -> str:
    """The other way round than the package does it, block by block."""
    layer, _, rest = key.partition(".")
    around = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    if layer != "blocks":
        return f"{around.get(layer, '_fc')}.{rest}"
    stage, number, name, *rest = rest.split(".")
    names = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}
    names |= {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
    if stage == "0":
        names = {"conv_dw": "_depthwise_conv", "conv_pw": "_project_conv"}
        names |= {"bn1": "_bn1", "bn2": "_bn2"}
    index = sum(BLOCKS_OF_LITE0[: int(stage)]) + int(number)
    return ".".join(["_blocks", str(index), names[name], *rest])


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with EfficientNet-Lite0's weights, under the keys of its authors."""
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    folder = tmp_path / "weights_of_lite0" / "models"
    folder.mkdir(parents=True)
    (tmp_path / "weights_of_lite0" / "__init__.py").write_text("raise RuntimeError('imported')")
    # norms too must not have the values that every network begins with
    state = {
        key: value + 0.001 * torch.rand_like(value) if value.is_floating_point() else value
        for key, value in classifier.state_dict().items()
    }
    theirs = {as_lukemelas_names_it(key): value for key, value in state.items()}
    torch.save(theirs, folder / "lite0.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    return state
