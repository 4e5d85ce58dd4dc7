"""What the tensors of known networks are called in files, and under this project's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

BACKBONE = "backbone.body."
HEAD = "head."
# Released BESTIE: the first that fits, of the patterns and what takes their place.
RELEASED_BESTIE = (
    (r"^decoder\.(semantic|instance)_decoder\.fuse\.(\d)\.0\.", HEAD + r"\1_decoder.fuse.\2."),
    (r"^decoder\.(semantic|instance)_decoder\.", HEAD + r"\1_decoder."),
    (r"^decoder\.\w+_head\.classifier\.(\w+)\.0\.0\.", HEAD + r"\1.0."),
    (r"^decoder\.\w+_head\.classifier\.(\w+)\.1\.", HEAD + r"\1.1."),
    (r"^(seg|center|offset)\.", HEAD + r"\1."),
    (r"^decoder\.", "decoder."),  # of no known layer
    (r"^(backbone\.)?", BACKBONE),
)
PAM_ALIAS = re.compile(
    r"^layer\d_conv\d\."
)  # second names of the released PAM classifier's tensors
# What WSSSHead's pyramid was called in this project's older checkpoints.
RENAMED = {"head.aspp.branches.": "head.aspp.convs.", "head.aspp.merge.": "head.aspp.project."}
WRAPPERS = re.compile(r"^(model|features)\.")  # in front of the same layers in some networks

# EfficientNet as lukemelas names it, in timm's names: what is around the blocks, and the layers of
# a block; one that does not widen its channels first has these two fewer.
AROUND_BLOCKS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
IN_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
}
IN_NARROW_BLOCK = IN_BLOCK | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def rename_released_bestie(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released BESTIE state dict (HRNet or ResNet) under this project's names."""

    def new_name(key: str) -> str:
        pattern, name = next(rule for rule in RELEASED_BESTIE if re.match(rule[0], key))
        return re.sub(pattern, name, key, count=1)

    return {new_name(key): value for key, value in state.items()}


def rename_released_pam(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released PAM classifier's state dict (VGG-16) under this project's names."""
    return {
        re.sub(r"^features\.", BACKBONE, key) if key.startswith("features.") else HEAD + key: value
        for key, value in state.items()
        if not PAM_ALIAS.match(key)
    }


def rename_efficientnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An EfficientNet, whose blocks are numbered through, in timm's names: blocks.STAGE.NUMBER."""
    blocks: list[str] = []
    stage, number, width = -1, 0, None
    while (last := f"_blocks.{len(blocks)}._project_conv.weight") in state:
        # a stage is a run of blocks that give the same number of channels
        stage, number = (stage, number + 1) if len(state[last]) == width else (stage + 1, 0)
        width = len(state[last])
        blocks.append(f"blocks.{stage}.{number}")

    def new_name(key: str) -> str:
        layer, *rest = key.split(".")
        if layer != "_blocks":
            return ".".join([AROUND_BLOCKS.get(layer, layer), *rest])
        index, layer, *rest = rest
        widens = f"_blocks.{index}._expand_conv.weight" in state
        layers = IN_BLOCK if widens else IN_NARROW_BLOCK
        return ".".join([blocks[int(index)], layers.get(layer, layer), *rest])

    return {new_name(key): value for key, value in state.items()}


def _renamed_since(key: str) -> str:
    for old, new in RENAMED.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def recognize(state: Mapping[str, Tensor], model_keys: Iterable[str]) -> dict[str, Tensor]:
    """A state dict under a model's names: this project's, a released one, or a bare backbone.

    A backbone is known by its layers; its classifier is left out. timm joins their names by ``_``
    where a network gives features, and by ``.`` where it classifies. What is not known stays.
    """
    if any(key.startswith(("decoder.", "seg.0.")) for key in state):
        return rename_released_bestie(state)
    if any(key.startswith("backbone.") for key in state):
        return {_renamed_since(key): value for key, value in state.items()}
    if "extra_conv1.weight" in state:
        return rename_released_pam(state)
    if "_conv_stem.weight" in state:
        state = rename_efficientnet(state)

    def plain(key: str) -> str:
        return WRAPPERS.sub("", key.replace("_", "."))

    ours = [key for key in model_keys if key.startswith(BACKBONE)]
    names = {plain(key.removeprefix(BACKBONE)): key for key in ours}
    backbone = {names[plain(key)]: value for key, value in state.items() if plain(key) in names}
    return backbone or dict(state)
