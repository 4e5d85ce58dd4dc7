"""What the tensors of known networks are called in files, and under this project's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

BACKBONE = "backbone.body."
UNDER_PYRAMID = "backbone.bottom_up.body."  # the same network under a feature pyramid
BODY = re.compile(r"backbone\.(bottom_up\.)?body\.")
HEAD = "head."
# Rules, of which the first that fits a name holds: a pattern, and what takes its place (None: the
# tensor is left out).
Rules = tuple[tuple[str, str | None], ...]
RELEASED_BESTIE: Rules = (
    (r"^decoder\.(semantic|instance)_decoder\.fuse\.(\d)\.0\.", HEAD + r"\1_decoder.fuse.\2."),
    (r"^decoder\.(semantic|instance)_decoder\.", HEAD + r"\1_decoder."),
    (r"^decoder\.\w+_head\.classifier\.(\w+)\.0\.0\.", HEAD + r"\1.0."),
    (r"^decoder\.\w+_head\.classifier\.(\w+)\.1\.", HEAD + r"\1.1."),
    (r"^(seg|center|offset)\.", HEAD + r"\1."),
    (r"^decoder\.", "decoder."),  # of no known layer
    (r"^(backbone\.)?", BACKBONE),
)
RELEASED_PAM: Rules = (
    (r"^layer\d_conv\d\.", None),  # a tensor's second name
    (r"^features\.", BACKBONE),
    (r"^", HEAD),
)
OLDER: Rules = (  # this project's older checkpoints: the pyramid of WSSSHead
    (r"^head\.aspp\.branches\.", "head.aspp.convs."),
    (r"^head\.aspp\.merge\.", "head.aspp.project."),
)
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


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """A state dict under the names that rules give; what fits none keeps its name."""
    renamed = {}
    for key, value in state.items():
        pattern, name = next((rule for rule in rules if re.match(rule[0], key)), ("^", ""))
        if name is not None:
            renamed[re.sub(pattern, name, key, count=1)] = value
    return renamed


def rename_efficientnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An EfficientNet, whose blocks are numbered through, in timm's names: blocks.STAGE.NUMBER."""
    blocks: list[str] = []
    stage, number, width = -1, 0, None
    while (last := f"_blocks.{len(blocks)}._project_conv.weight") in state:
        # a stage is a run of blocks that give the same number of channels
        stage, number = (stage, number + 1) if len(state[last]) == width else (stage + 1, 0)
        width = len(state[last])
        blocks.append(f"blocks.{stage}.{number}")

    renamed = {}
    for key, value in state.items():
        layer, *rest = key.split(".")
        names, prefix = AROUND_BLOCKS, []
        if layer == "_blocks":
            index, layer, *rest = rest
            widens = f"_blocks.{index}._expand_conv.weight" in state
            names, prefix = IN_BLOCK if widens else IN_NARROW_BLOCK, [blocks[int(index)]]
        renamed[".".join([*prefix, names.get(layer, layer), *rest])] = value
    return renamed


def recognize(state: Mapping[str, Tensor], model_keys: Iterable[str]) -> dict[str, Tensor]:
    """A state dict under a model's names: this project's, a released one, or a bare backbone.

    A backbone goes under a feature pyramid where the model has one, so that Mask R-CNN can begin
    from BESTIE's. A bare backbone is known by its layers; its classifier is left out. timm joins
    their names by ``_`` where a network gives features, and by ``.`` where it classifies. What is
    not known stays.
    """
    if any(key.startswith(("decoder.", "seg.0.")) for key in state):
        return rename(state, RELEASED_BESTIE)
    if any(key.startswith("backbone.") for key in state):
        pyramid = any(key.startswith(UNDER_PYRAMID) for key in model_keys)
        return rename(state, (*OLDER, (r"^backbone\.body\.", UNDER_PYRAMID)) if pyramid else OLDER)
    if "extra_conv1.weight" in state:
        return rename(state, RELEASED_PAM)
    if "_conv_stem.weight" in state:
        state = rename_efficientnet(state)

    def plain(key: str) -> str:
        return WRAPPERS.sub("", key.replace("_", "."))

    names = {plain(BODY.sub("", key)): key for key in model_keys if BODY.match(key)}
    backbone = {names[plain(key)]: value for key, value in state.items() if plain(key) in names}
    return backbone or dict(state)
