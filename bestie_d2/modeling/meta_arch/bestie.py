"""BESTIE: semantic, class-wise center and offset maps, trained on weak labels, grouped to masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn

from bestie_d2.errors import check_choice
from bestie_d2.labeling.decode import PixelValues, group_instances, share_foreground
from bestie_d2.labeling.targets import draw_targets
from bestie_d2.modeling.criterion import (
    SUPERVISIONS,
    BestieCriterion,
    WeakLabels,
    clustering_from_config,
)
from bestie_d2.modeling.heads import InstanceMaps, build_instance_head
from bestie_d2.modeling.inputs import (
    NormalizedInput,
    check_crops,
    check_side,
    with_sides_of_multiples,
)
from bestie_d2.modeling.wsss_maps import possible_indices
from bestie_d2.ops.offsets import rescale_offsets
from bestie_d2.structures import ObjectMask


@META_ARCH_REGISTRY.register()
class BESTIE(NormalizedInput):
    """Weakly-supervised instance segmentation network (paper: Section 3)."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        criterion: nn.Module,
        pixel_mean: list[float],
        pixel_std: list[float],
        size_divisibility: int,
        flip: bool,
        use_tags: bool,
        use_points: bool,
        grouping: dict[str, Any],
    ) -> None:
        """
        Args:
            backbone: images -> features by name.
            head: features and a size -> ``InstanceMaps``.
            criterion: maps and ``WeakLabels`` -> losses.
            pixel_mean, pixel_std: of each channel of the image, in 0..255.
            size_divisibility: both sides of a test image are resized up to a multiple of it.
            flip: average a test image's maps with those of its mirror image.
            use_tags: find no classes but a test image's ``image_classes``, where they are known.
            use_points: find no objects but at a test image's ``cues``, where they are known.
            grouping: keyword arguments of ``labeling.decode.group_instances``.
        """
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.head = head
        self.criterion = criterion
        self.size_divisibility = size_divisibility
        self.flip = flip
        self.use_tags = use_tags
        self.use_points = use_points
        self.grouping = grouping

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node = cfg.MODEL.BESTIE
        check_choice("MODEL.BESTIE.SUPERVISION", node.SUPERVISION, SUPERVISIONS)
        backbone = build_backbone(cfg)
        check_side("MODEL.BESTIE.SIZE_DIVISIBILITY", node.SIZE_DIVISIBILITY, backbone)
        return {
            "backbone": backbone,
            "head": build_instance_head(cfg, backbone.output_shape()),
            "criterion": BestieCriterion(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": node.SIZE_DIVISIBILITY,
            "flip": node.TEST.FLIP,
            "use_tags": node.TEST.USE_TAGS,
            "use_points": node.TEST.USE_POINTS,
            "grouping": {
                "center_threshold": node.TEST.CENTER_THRESHOLD,
                "kernel": node.TEST.KERNEL,
                "clustering": clustering_from_config(cfg, node.TEST.CLUSTERING),
                "min_area": node.TEST.MIN_AREA,
                "keep_centerless": node.TEST.KEEP_CENTERLESS,
            },
        }

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses while training, else ``[{"instances": Instances}]``, one for each input.

        Args:
            batched_inputs: dicts with ``image`` (3, H, W) in 0..255; for training, all of one size,
                with what ``data.mappers.WeakInstanceMapper`` adds; for inference, with the
                original ``height`` and ``width`` where they differ from the image's, and with
                ``image_classes``, (C,) bool or class ids, and ``cues``, in pixels of the original,
                where they are known.
        """
        if not self.training:
            return [self._segment(item) for item in batched_inputs]
        labels = self.weak_labels(batched_inputs)  # sent while the device has nothing to do yet
        images = self.normalize(torch.stack([item["image"] for item in batched_inputs]))
        check_crops("INPUT.BESTIE.CROP_SIZE", images, self.backbone)
        maps = self.head(self.backbone(images), tuple(images.shape[-2:]))
        return self.criterion(maps, labels)

    def weak_labels(self, batched_inputs: list[dict]) -> WeakLabels:
        """What a batch of training inputs is taught with."""
        sem_seg = torch.stack([item["sem_seg"] for item in batched_inputs])
        tags = torch.stack([item["image_classes"] for item in batched_inputs])
        return WeakLabels(
            sem_seg.to(self.device, non_blocking=True),
            [item["components"] for item in batched_inputs],
            tags,
            draw_targets(
                [item["pseudo_labels"] for item in batched_inputs],
                num_classes=tags.shape[1],
                device=self.device,
            ),
            [item["cues"] for item in batched_inputs],
        )

    @torch.no_grad()
    def predict_maps(
        self, image: Tensor, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says of one (3, h, w) image in 0..255, of any size.

        Args:
            size: (H, W) of the maps, the image's own by default.

        Returns:
            (C+1, H, W) class probabilities, (C, H, W) centers and (2, H, W) offsets in pixels of
            the returned maps.
        """
        size = size or (image.shape[-2], image.shape[-1])
        # The network speaks of pixels of the image that it is given.
        images = with_sides_of_multiples(self.normalize(image[None]), self.size_divisibility)
        scale = (size[0] / images.shape[-2], size[1] / images.shape[-1])
        return self.merge(self.look_at(images, size), scale)

    def look_at(self, images: Tensor, size: tuple[int, int] | None = None) -> list[InstanceMaps]:
        """Maps of normalized (B, 3, h, w) images and, with ``flip``, those of their mirror images,
        mirrored back; offsets in pixels of the images.

        Args:
            size: of the maps; by default that of the backbone's largest features.
        """
        views = []
        for mirrored in (False, True)[: 1 + self.flip]:
            features = self.backbone(images.flip(-1) if mirrored else images)
            maps = self.head(features, size or tuple(max(f.shape[-2:] for f in features.values())))
            if mirrored:
                sem_seg, center = maps.sem_seg, maps.center
                offset = rescale_offsets(maps.offset, 1.0, -1.0)
                maps = InstanceMaps(*(values.flip(-1) for values in (sem_seg, center, offset)))
            views.append(maps)
        return views

    @staticmethod
    def merge(
        views: Sequence[InstanceMaps], scale: tuple[float, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The mean of what was seen of one image: class probabilities, centers and offsets, these
        in pixels that are smaller than the network's by (y, x) ``scale``."""

        def mean(values: list[Tensor]) -> Tensor:
            return reduce(torch.add, values).div_(len(views))

        return (
            mean([maps.sem_seg[0].softmax(dim=0) for maps in views]),
            mean([maps.center[0] for maps in views]),
            mean([rescale_offsets(maps.offset[0], *scale) for maps in views]),
        )

    @torch.no_grad()
    def find_objects(self, image: Tensor, size: tuple[int, int]) -> list[ObjectMask]:
        """What inference finds in one (3, h, w) image in 0..255, grouped at (H, W), where neither
        tags nor points are known, by class; no mask of that size is in memory."""
        maps = self.predict_maps(image, size)
        num_classes = len(maps[1])
        return PixelValues.of_maps(*maps).objects(num_classes, self.device, **self.grouping)

    def _segment(self, item: dict) -> dict:
        """Instances of one image, grouped at its original size."""
        height, width = item["image"].shape[-2:]
        size = (item.get("height", height), item.get("width", width))
        sem_seg, center, offset = self.predict_maps(item["image"], size)
        if self.use_tags and "image_classes" in item:
            sem_seg = share_foreground(sem_seg, possible_indices(item["image_classes"]))
        points = item.get("cues") if self.use_points else None
        masks, classes, scores = group_instances(
            sem_seg, center, offset, points=points, **self.grouping
        )
        boxes = BitMasks(masks).get_bounding_boxes()
        found = Instances(
            size, pred_masks=masks, pred_boxes=boxes, pred_classes=classes, scores=scores
        )
        return {"instances": found}
