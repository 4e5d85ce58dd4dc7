"""Any timm network that gives a pyramid of features, HRNet among them, as a Detectron2 backbone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import timm
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from timm.layers import activations, activations_me
from torch import Tensor, nn

from bestie_d2.errors import InputError, check_choice, check_choices
from bestie_d2.modeling.layers import InterleavedConv2d, set_batch_norm_momentum
from bestie_d2.modeling.norms import freeze_batch_norms

STRIDES = {"stem": 2, "res2": 4, "res3": 8, "res4": 16, "res5": 32}  # of features by name
DEEPEST = STRIDES["res5"]
FREEZE_STEM = 1  # MODEL.TIMM.FREEZE_AT of the stem alone; 2 is res2, and so on, as in Detectron2
# Where PyTorch's and timm's are.
ACTIVATIONS = (nn.ReLU.__module__, activations.__name__, activations_me.__name__)
HRNETS = ("hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48")


class TimmBackbone(Backbone):
    """The features ``res2`` to ``res5`` (strides 4 to 32) and, where there is one, ``stem`` (2).

    What only unwanted features need is not built, so no parameter is left unused. HRNet's features
    are its fused branches, which fit each other where 32 divides the image's sides.
    """

    @configurable
    def __init__(
        self,
        *,
        name: str,
        out_features: Sequence[str],
        batch_norm_momentum: float,
        output_stride: int = DEEPEST,
        in_channels: int = 3,
        freeze_at: int = 0,
        freeze_norm: bool = False,
    ) -> None:
        """
        Args:
            out_features: names out of ``STRIDES``.
            batch_norm_momentum: PyTorch's momentum of every batch norm (released recipe: 0.1).
            output_stride: 8 or 16 dilate the last stages in place of their stride.
            freeze_at: stages that stay as they are: 0 none, 1 the stem, 2 also res2, and so on.
            freeze_norm: all batch norms stay as they are.
        """
        super().__init__()
        self.name = name
        is_hrnet = name.startswith("hrnet")
        self._size_divisibility = DEEPEST if is_hrnet else 0
        self._out_features = [feature for feature in STRIDES if feature in out_features]
        places = [list(STRIDES).index(feature) for feature in self._out_features]
        options: dict[str, Any] = {"feature_location": ""} if is_hrnet else {}
        if output_stride != DEEPEST:
            options["output_stride"] = output_stride
        try:
            body: Any = timm.create_model(
                name,
                pretrained=False,
                features_only=True,
                out_indices=tuple(place - len(STRIDES) for place in places),  # from the deepest on
                in_chans=in_channels,
                **options,
            )
        except Exception as error:  # whatever the network of that name raises
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(
                f"timm gives no {name!r} with {', '.join(self._out_features)} and output stride "
                f"{output_stride} ({reason})"
            ) from None
        self.body = body
        info = body.feature_info
        expected = [min(STRIDES[feature], output_stride) for feature in self._out_features]
        if info.reduction() != expected or getattr(body, "output_fmt", "NCHW") != "NCHW":
            raise InputError(
                f"timm's {name!r} gives no maps (B, K, H, W) of strides {expected}: choose a "
                "convolutional network"
            )
        if is_hrnet:
            fusion = body.stage4[-1]
            fusion.fuse_layers = fusion.fuse_layers[: max(*places, 1)]
        last = re.fullmatch(r"blocks\.(\d+)", info.module_name()[-1])
        if last and isinstance(getattr(body, "blocks", None), nn.Sequential):
            body.blocks = body.blocks[: int(last[1]) + 1]
        for layer in body.modules():
            if isinstance(layer, nn.Conv2d) and InterleavedConv2d.suits(layer):
                layer.__class__ = InterleavedConv2d
        set_batch_norm_momentum(body, batch_norm_momentum)
        if freeze_at:
            self._freeze(freeze_at)
        if freeze_norm:
            freeze_batch_norms(body)
        self._out_feature_channels = dict(zip(self._out_features, info.channels(), strict=True))
        self._out_feature_strides = dict(zip(self._out_features, expected, strict=True))

    def _modules_until(self, feature: str, key: str) -> list[str]:
        """Names of the network's modules up to the one that gives a feature, in their order; an
        ``InputError`` that tells of ``key`` where the network does not work in such an order."""
        features = self.body.feature_info.info  # of every stage, wanted or not
        known = list(STRIDES)[-len(features) :]  # some networks have no stem
        if feature not in known or self._size_divisibility:
            raise InputError(f"{key}, but {self.name} has no such stage")
        module = features[known.index(feature)]["module"]
        prefixes = (f"{module}.", f"{module.replace('.', '_', 1)}.")  # as it is, or flattened
        names = [name for name, _ in self.body.named_modules()]
        inside = [i for i, name in enumerate(names) if f"{name}.".startswith(prefixes)]
        if not inside:
            deepest = self._out_features[-1]
            raise InputError(f"{key}, but {self.name} is built as deep as {deepest} needs it")
        return names[: inside[-1] + 1]

    def _freeze(self, stages: int) -> None:
        """Keep the first stages, with their norms, as they are."""
        last = list(STRIDES)[stages - FREEZE_STEM]
        for name in self._modules_until(last, f"MODEL.TIMM.FREEZE_AT is {stages}"):
            layer = self.body.get_submodule(name)
            parameters = [*layer.parameters(recurse=False)]
            for parameter in parameters:
                parameter.requires_grad = False
            if parameters:
                parent, _, own = name.rpartition(".")
                setattr(self.body.get_submodule(parent), own, freeze_batch_norms(layer))

    def activations(self, layer: int) -> list[nn.Module]:
        """The activations in the stage of ``res<layer>`` that peak attention may follow: not those
        behind a linear layer, whose channels come last."""
        key = f"MODEL.PAM.LAYERS has {layer}"
        before, until = (self._modules_until(f"res{n}", key) for n in (layer - 1, layer))
        stage = [self.body.get_submodule(name) for name in until[len(before) - 1 :]]
        found = [
            module
            for previous, module in pairwise(stage)
            if type(module).__module__ in ACTIVATIONS and not isinstance(previous, nn.Linear)
        ]
        if not found:
            raise InputError(f"{key}, but {self.name} has no activations of maps (B, K, h, w)")
        return found

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        node = cfg.MODEL.TIMM
        check_choices("MODEL.TIMM.OUT_FEATURES", node.OUT_FEATURES, STRIDES)
        check_choice("MODEL.TIMM.FREEZE_AT", node.FREEZE_AT, range(FREEZE_STEM + len(STRIDES)))
        return {
            "name": node.NAME,
            "out_features": node.OUT_FEATURES,
            "batch_norm_momentum": cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM,
            "output_stride": node.OUTPUT_STRIDE,
            "in_channels": input_shape.channels,
            "freeze_at": node.FREEZE_AT,
            "freeze_norm": node.FREEZE_NORM,
        }

    @property
    def size_divisibility(self) -> int:
        """What the sides of images have to be multiples of, whichever features are wanted."""
        return self._size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized images -> the out_features by name."""
        return dict(zip(self._out_features, self.body(images), strict=True))


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The network that ``MODEL.TIMM`` names."""
    return TimmBackbone(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Detectron2's feature pyramid, up to ``p6``, over the network that ``MODEL.TIMM`` names: over
    the features ``MODEL.FPN.IN_FEATURES``, whatever ``OUT_FEATURES`` says."""
    node = cfg.MODEL.FPN
    check_choices("MODEL.FPN.IN_FEATURES", node.IN_FEATURES, STRIDES)
    network = TimmBackbone(cfg, input_shape, out_features=node.IN_FEATURES)
    strides = {name: shape.stride for name, shape in network.output_shape().items()}
    if list(strides.values()) != [DEEPEST >> n for n in reversed(range(len(strides)))]:
        raise InputError(
            f"MODEL.FPN needs features whose strides double up to {DEEPEST}, but "
            f"MODEL.FPN.IN_FEATURES and MODEL.TIMM.OUTPUT_STRIDE give {strides}"
        )
    return FPN(
        bottom_up=network,
        in_features=list(strides),
        out_channels=node.OUT_CHANNELS,
        norm=node.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=node.FUSE_TYPE,
    )


@BACKBONE_REGISTRY.register()
def build_hrnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """HRNet as ``MODEL.HRNET`` describes it; the same as ``MODEL.TIMM`` with that name."""
    node = cfg.MODEL.HRNET
    check_choice("MODEL.HRNET.ARCHITECTURE", node.ARCHITECTURE, HRNETS)
    check_choices("MODEL.HRNET.OUT_FEATURES", node.OUT_FEATURES, STRIDES)
    return TimmBackbone(
        name=node.ARCHITECTURE,
        out_features=node.OUT_FEATURES,
        batch_norm_momentum=cfg.MODEL.BESTIE.BATCH_NORM_MOMENTUM,
        in_channels=input_shape.channels,
    )
