"""Single-stage WSSS: image tags in, one class for each pixel out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from bestie_d2.modeling.inputs import NormalizedInput, check_crops, check_scales, check_side
from bestie_d2.modeling.layers import upsample
from bestie_d2.modeling.norms import freeze_batch_norms
from bestie_d2.modeling.wsss_losses import (
    balanced_cross_entropy,
    class_scores,
    pseudo_masks,
    tag_loss,
    with_background,
)
from bestie_d2.modeling.wsss_maps import (
    DenseCRF,
    mean_over_superpixels,
    mean_over_views,
    normalized,
    possible_indices,
    suppress_background,
)
from bestie_d2.ops.mask_refinement import refine_masks


@META_ARCH_REGISTRY.register()
class SingleStageWSSS(NormalizedInput):
    """Segmentation network that learns from tags and its own refined masks.

    Araslanov & Roth, "Single-stage semantic segmentation from image labels" (CVPR 2020).
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        num_classes: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        background_logit: float,
        mask_loss_start: int,
        mask_loss_weight: float,
        focal: dict[str, float],
        refinement: dict[str, Any],
        pseudo_background_power: float,
        pseudo: dict[str, float],
        views: dict[str, Any],
        background_power: float,
        use_tags: bool,
        output_refinement: dict[str, Any],
        crf: DenseCRF | None,
    ) -> None:
        """
        Args:
            background_logit: constant that a class's logit has to exceed.
            mask_loss_start: the first iteration with the self-supervised mask loss.
            focal, refinement, pseudo, views: keyword arguments of ``class_scores``,
                ``refine_masks``, ``pseudo_masks`` and ``mean_over_views``.
            pseudo_background_power: that the background's probability is raised to before masks are
                refined to pseudo masks.
            background_power: that it is raised to in the end.
            use_tags: remove the classes that are not among a test image's ``image_classes``.
            output_refinement: of a test image's probabilities, keyword arguments of ``_refined``.
        """
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.head = head
        self.num_classes = num_classes
        self.background_logit = background_logit
        self.mask_loss_start = mask_loss_start
        self.mask_loss_weight = mask_loss_weight
        self.focal = focal
        self.refinement = refinement
        self.pseudo_background_power = pseudo_background_power
        self.pseudo = pseudo
        self.views = views
        self.background_power = background_power
        self.use_tags = use_tags
        self.output_refinement = output_refinement
        self.crf = crf

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node, test = cfg.MODEL.WSSS, cfg.MODEL.WSSS.TEST
        backbone = build_backbone(cfg)
        check_side("MODEL.WSSS.TEST.SIZE_DIVISIBILITY", test.SIZE_DIVISIBILITY, backbone)
        check_scales("MODEL.WSSS.TEST.SCALES", test.SCALES)
        if node.FREEZE_BACKBONE_NORM:
            backbone = freeze_batch_norms(backbone)
        return {
            "backbone": backbone,
            "head": build_sem_seg_head(cfg, backbone.output_shape()),
            "num_classes": node.NUM_CLASSES,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "background_logit": node.BACKGROUND_LOGIT,
            "mask_loss_start": node.MASK_LOSS_START,
            "mask_loss_weight": node.MASK_LOSS_WEIGHT,
            "focal": {"focal_power": node.FOCAL.POWER, "focal_offset": node.FOCAL.OFFSET},
            "refinement": {"dilations": node.PAMR.DILATIONS, "iterations": node.PAMR.ITERATIONS},
            "pseudo_background_power": node.PSEUDO.BACKGROUND_POWER,
            "pseudo": {
                "foreground_share": node.PSEUDO.FOREGROUND_SHARE,
                "background_share": node.PSEUDO.BACKGROUND_SHARE,
                "min_confidence": node.PSEUDO.MIN_CONFIDENCE,
            },
            "views": {
                "scales": test.SCALES,
                "size_divisibility": test.SIZE_DIVISIBILITY,
                "flip": test.FLIP,
            },
            "background_power": test.BACKGROUND_POWER,
            "use_tags": test.USE_TAGS,
            "output_refinement": {
                "scale": test.PAMR_SCALE,
                "pamr": {"dilations": node.PAMR.DILATIONS, "iterations": test.PAMR_ITERATIONS}
                if test.PAMR
                else None,
                "superpixels": test.SUPERPIXELS,
            },
            "crf": DenseCRF() if test.CRF else None,
        }

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses while training, else ``[{"sem_seg": probabilities}]``, one for each input.

        Args:
            batched_inputs: dicts with ``image`` (3, H, W) in 0..255 and ``image_classes``; for
                training, a (C,) bool tensor, with all images of one size; for inference, optional,
                that or class ids, with the original ``height`` and ``width`` where they differ
                from the image's.

        Returns:
            ``loss_tags`` and ``loss_masks``, or (C+1, height, width) probabilities each.
        """
        if not self.training:
            return [{"sem_seg": self._segment(item)} for item in batched_inputs]
        images = self.normalize(torch.stack([item["image"] for item in batched_inputs]))
        check_crops("INPUT.TAGS.CROP_SIZE", images, self.backbone)
        tags = torch.stack([item["image_classes"] for item in batched_inputs]).to(self.device)
        return self.losses(images, self.head(self.backbone(images)).float(), tags)

    def losses(self, images: Tensor, logits: Tensor, tags: Tensor) -> dict[str, Tensor]:
        """Of (B, 3, H, W) normalized images, (B, C, h, w) logits and (B, C) bool tags."""
        everything = with_background(logits, self.background_logit)
        masks = everything.softmax(dim=1)
        losses = {"loss_tags": tag_loss(class_scores(logits, masks[:, 1:], **self.focal), tags)}
        if get_event_storage().iter < self.mask_loss_start:
            return {**losses, "loss_masks": logits.sum() * 0}
        seen = upsample(images, masks.shape[-2:])
        suppressed = suppress_background(masks.detach(), self.pseudo_background_power)
        refined = refine_masks(seen, suppressed, **self.refinement)
        labels = pseudo_masks(refined, tags, **self.pseudo)
        mask_loss = balanced_cross_entropy(everything, labels, tags, shared=True)
        return {**losses, "loss_masks": mask_loss * self.mask_loss_weight}

    @torch.no_grad()
    def _segment(self, item: dict) -> Tensor:
        """(C+1, height, width) probabilities of one image at its original size."""
        images = self.normalize(item["image"][None])
        height, width = images.shape[-2:]
        size = (item.get("height", height), item.get("width", width))
        kept: list[int] | slice = slice(None)
        if self.use_tags and "image_classes" in item:
            kept = possible_indices(item["image_classes"])

        def probabilities(seen: Tensor) -> Tensor:
            """Of what is possible alone: nothing later depends on the rest, which may be much."""
            logits = with_background(self.head(self.backbone(seen)), self.background_logit)
            return logits.softmax(dim=1)[:, kept]

        def pixels() -> Tensor:
            """The image's in 0..255, which only superpixels and the CRF look at."""
            return upsample(images, size) * self.pixel_std + self.pixel_mean

        masks = normalized(mean_over_views(probabilities, images, size, **self.views))
        masks = _refined(images, pixels, masks, **self.output_refinement)
        masks = suppress_background(masks, self.background_power)
        if self.crf:
            masks = self.crf(pixels(), masks)
        everything = masks.new_zeros(self.num_classes + 1, *size)
        everything[kept] = masks[0]
        return everything


def _refined(
    images: Tensor,
    pixels: Callable[[], Tensor],
    masks: Tensor,
    *,
    scale: float,
    pamr: dict[str, Any] | None,
    superpixels: Sequence[float],
) -> Tensor:
    """(1, K, H, W) masks after PAMR and ``mean_over_superpixels``, those that there are, both on
    maps whose sides are ``scale`` times as long. ``pixels`` gives the image's, in 0..255."""
    if not pamr and not superpixels:
        return masks
    small = [max(round(side * scale), 1) for side in masks.shape[-2:]]
    refined = upsample(masks, small)
    if pamr:
        refined = refine_masks(upsample(images, small), refined, **pamr)
    if superpixels:
        refined = mean_over_superpixels(upsample(pixels(), small), refined, superpixels)
    return upsample(refined, masks.shape[-2:])
