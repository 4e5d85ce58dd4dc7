"""VGG with its last strides turned into dilation, over torchvision: the PAM classifier's backbone."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from bestie_d2.errors import InputError

POOL = "M"  # torchvision's mark of a max-pool
OUTPUT = "block5"


@dataclass(frozen=True)
class Architecture:
    """A VGG.

    Attributes:
        blocks: channels of each convolution, block by block.
        strided_pools: so many of the pools between the blocks halve the map, the later ones do not.
        batch_norm: after every convolution; makes training from scratch possible.
    """

    blocks: tuple[tuple[int, ...], ...]
    strided_pools: int
    batch_norm: bool


ARCHITECTURES = {
    "vgg16": Architecture(((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3), 3, False),
    # For small images and CPUs: maps of stride 4, trained from scratch.
    "vgg_small": Architecture(((32,), (64,), (96,) * 2, (128,), (128,)), 2, True),
}


class DilatedVGG(Backbone):
    """Five blocks of convolutions; the output, ``block5``, keeps the stride of the strided pools.

    Each pool that does not halve the map doubles the dilation of the blocks behind it, so that they
    see as far as with it. Without a pool at the end.
    """

    @configurable
    def __init__(self, *, architecture: str, in_channels: int = 3) -> None:
        """
        Args:
            architecture: one of ``ARCHITECTURES``.
            in_channels: of the image; torchvision's VGG has 3.
        """
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(
                f"MODEL.VGG.ARCHITECTURE is {architecture!r}; choose from {tuple(ARCHITECTURES)}"
            )
        recipe = ARCHITECTURES[architecture]
        layout = [entry for block in recipe.blocks for entry in (*block, POOL)][:-1]
        self.body = make_layers(layout, batch_norm=recipe.batch_norm)
        if in_channels != self.body[0].in_channels:
            raise InputError(
                f"MODEL.VGG takes {self.body[0].in_channels} channels, not {in_channels}"
            )
        self._activations: dict[int, list[nn.Module]] = {}
        block, dilation = 1, 1
        for index, layer in enumerate(self.body):
            if isinstance(layer, nn.MaxPool2d):
                if block > recipe.strided_pools:
                    self.body[index] = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
                    dilation *= 2
                block += 1
            elif isinstance(layer, nn.Conv2d):
                layer.dilation = layer.padding = (dilation, dilation)
            elif isinstance(layer, nn.ReLU):
                self._activations.setdefault(block, []).append(layer)
        self._out_features = [OUTPUT]
        self._out_feature_strides = {OUTPUT: 2**recipe.strided_pools}
        self._out_feature_channels = {OUTPUT: recipe.blocks[-1][-1]}

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        return {"architecture": cfg.MODEL.VGG.ARCHITECTURE, "in_channels": input_shape.channels}

    def activations(self, layer: int) -> list[nn.Module]:
        """The ReLUs of a block, numbered from 1 as in the paper."""
        return self._activations[layer]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalized images -> ``block5``."""
        return {OUTPUT: self.body(images)}


@BACKBONE_REGISTRY.register()
def build_vgg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DilatedVGG:
    """VGG as ``MODEL.VGG`` describes it."""
    return DilatedVGG(cfg, input_shape)
