"""PAM classifier head: convolutions with peak attention, class activation maps out.

``C`` classes, ``h, w`` the backbone's last map.
"""

from __future__ import annotations

from collections.abc import Iterable

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.ops.peak_attention import peak_attention

HEAD_LAYER = 6  # the paper's number of the head's convolutions, after the backbone's 1 to 5
LAYERS = (4, 5, HEAD_LAYER)  # that may carry PAM (paper: Table 8)


class PeakAttention(nn.Module):
    """:func:`bestie_d2.ops.peak_attention.peak_attention` as a layer without parameters."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, features: Tensor) -> Tensor:
        return peak_attention(features, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


def apply_after(modules: Iterable[nn.Module], layer: nn.Module) -> None:
    """Send the output of each module through a layer without parameters, in place.

    A hook leaves the modules' names alone, so checkpoints fit whichever layers carry PAM.
    """
    for module in modules:
        module.register_forward_hook(lambda module, inputs, output: layer(output))


def pam_layers(cfg: CfgNode) -> tuple[int, ...]:
    """``MODEL.PAM.LAYERS``, looked through."""
    layers = tuple(cfg.MODEL.PAM.LAYERS)
    if not set(layers) <= set(LAYERS):
        raise InputError(f"MODEL.PAM.LAYERS is {layers}; choose from {LAYERS}")
    return layers


def _norm(name: str, channels: int) -> nn.Module:
    try:
        return get_norm(name, channels) or nn.Identity()
    except (KeyError, ValueError):  # unknown, or of groups that do not fit
        raise InputError(
            f"MODEL.PAM.HEAD_NORM is {name!r}, expected '', 'BN' or another norm of Detectron2's "
            f"that takes {channels} channels"
        ) from None


@SEM_SEG_HEADS_REGISTRY.register()
class PAMHead(nn.Module):
    """Three 3x3 convolutions, each with PAM in place of its ReLU, then 1x1 to the classes."""

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        hidden_channels: int,
        num_classes: int,
        alpha: float,
        norm: str = "",
    ) -> None:
        """
        Args:
            hidden_channels: of the 3x3 convolutions (released recipe: 512).
            alpha: of PAM; 0 leaves plain ReLU, and so plain CAMs.
            norm: before each PAM, as Detectron2 names it; none if empty (released recipe).
        """
        super().__init__()
        self.extra_conv1 = nn.Conv2d(in_channels, hidden_channels, 3, padding=1)
        self.extra_conv2 = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1)
        self.extra_conv3 = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1)
        self.extra_conv4 = nn.Conv2d(hidden_channels, num_classes, 1)
        self.norms = nn.ModuleList(_norm(norm, hidden_channels) for _ in self._hidden())
        self.activation = PeakAttention(alpha)
        for convolution in self._hidden():
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)

    def _hidden(self) -> tuple[nn.Conv2d, ...]:
        return self.extra_conv1, self.extra_conv2, self.extra_conv3

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        node = cfg.MODEL.PAM
        return {
            "in_channels": input_shape.channels,
            "hidden_channels": node.HEAD_CHANNELS,
            "num_classes": node.NUM_CLASSES,
            "norm": node.HEAD_NORM,
            "alpha": node.ALPHA if HEAD_LAYER in pam_layers(cfg) else 0.0,
        }

    def forward(self, features: Tensor) -> Tensor:
        """(B, K, h, w) -> class activation maps (B, C, h, w), before any ReLU."""
        for convolution, norm in zip(self._hidden(), self.norms, strict=True):
            features = self.activation(norm(convolution(features)))
        return self.extra_conv4(features)
