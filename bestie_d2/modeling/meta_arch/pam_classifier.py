"""PAM classifier: which classes an image shows, and one sparse activation peak for each object."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from torch import Tensor, nn

from bestie_d2.errors import InputError, check_choice
from bestie_d2.modeling.heads.pam import HEAD_LAYER, PeakAttention, apply_after, pam_layers
from bestie_d2.modeling.inputs import NormalizedInput, check_crops, step_of, with_sides_of_multiples


def layer_activations(backbone: Any, layer: int) -> list[nn.Module]:
    """The modules of a backbone whose outputs are the activations of layer 4 or 5."""
    if hasattr(backbone, "activations"):
        return backbone.activations(layer)
    stage = getattr(backbone, f"res{layer}", None)  # Detectron2's ResNet
    if stage is None:
        raise InputError(
            f"MODEL.PAM.LAYERS has {layer}, which {type(backbone).__name__} has no such layer for; "
            f"({HEAD_LAYER},) suits every backbone"
        )
    return list(stage)


@META_ARCH_REGISTRY.register()
class PAMClassifier(NormalizedInput):
    """Multi-label classifier whose activation maps peak once per object (paper: Section 3.2)."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        in_feature: str,
        alpha: float,
        backbone_layers: tuple[int, ...],
        pixel_mean: list[float],
        pixel_std: list[float],
        flip: bool,
    ) -> None:
        """
        Args:
            in_feature: the feature that the head is given.
            alpha: of PAM in the backbone.
            backbone_layers: layers of the backbone that carry PAM.
            flip: average a test image's maps with those of its mirror image.
        """
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.head = head
        self.in_feature = in_feature
        self.flip = flip
        for layer in backbone_layers:
            apply_after(layer_activations(backbone, layer), PeakAttention(alpha))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node = cfg.MODEL.PAM
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        check_choice("MODEL.PAM.IN_FEATURE", node.IN_FEATURE, shapes)
        return {
            "backbone": backbone,
            "head": build_sem_seg_head(cfg, shapes[node.IN_FEATURE]),
            "in_feature": node.IN_FEATURE,
            "alpha": node.ALPHA,
            "backbone_layers": tuple(n for n in pam_layers(cfg) if n != HEAD_LAYER),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "flip": node.TEST.FLIP,
        }

    def class_activation_maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, h, w), before any ReLU."""
        return self.head(self.backbone(images)[self.in_feature])

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses while training, else the maps of each image.

        Args:
            batched_inputs: dicts with ``image`` (3, H, W) in 0..255 and, for training,
                ``image_classes`` (C,) bool; then all images are of one size.

        Returns:
            ``{"loss_tags": scalar}``, or for each input ``cams`` (C, h, w), the class activation
            maps before any ReLU at the backbone's stride, and ``tag_logits`` (C,), their means.
        """
        if not self.training:
            return [self._activate(item["image"]) for item in batched_inputs]
        images = self.normalize(torch.stack([item["image"] for item in batched_inputs]))
        check_crops("INPUT.TAGS.CROP_SIZE", images, self.backbone)
        tags = torch.stack([item["image_classes"] for item in batched_inputs]).to(self.device)
        logits = self.class_activation_maps(images).float().mean(dim=(-2, -1))
        return {"loss_tags": F.multilabel_soft_margin_loss(logits, tags.to(logits.dtype))}

    @torch.no_grad()
    def _activate(self, image: Tensor) -> dict[str, Tensor]:
        images = with_sides_of_multiples(self.normalize(image[None]), step_of(self.backbone))
        cams = self.class_activation_maps(images)[0]
        if self.flip:
            cams = (cams + self.class_activation_maps(images.flip(-1))[0].flip(-1)) / 2
        return {"cams": cams, "tag_logits": cams.mean(dim=(-2, -1))}
