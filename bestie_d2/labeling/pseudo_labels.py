"""Semantic knowledge transfer: weak semantic map + cues -> pseudo instance targets.

Paper, Section 3.3: a connected component of one class that holds exactly one cue is taken for an
instance. Everything else stays without guidance, so that a missing instance is never called
background.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bestie_d2.ops.components import Component, class_components
from bestie_d2.ops.heatmap import draw_gaussians
from bestie_d2.structures import InstanceTargets, PointCues


def empty_targets(batch: int, num_classes: int, height: int, width: int) -> InstanceTargets:
    """All-zero targets of a batch in host memory."""
    # torch.zeros leaves untouched pages to the operating system; most stay untouched.
    return InstanceTargets(
        torch.zeros(batch, num_classes, height, width),
        torch.zeros(batch, 2, height, width),
        torch.zeros(batch, height, width),
    )


class TargetCanvas:
    """One image's place in a batch of targets, for instances to be drawn into."""

    def __init__(self, targets: InstanceTargets, index: int) -> None:
        self.center = targets.center[index].numpy()
        self.offset = targets.offset[index].numpy()
        self.weight = targets.weight[index].numpy()

    def guide(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        center: tuple[float, float],
        weight: float,
    ) -> None:
        """Point the pixels at their center (y, x) and give them a weight."""
        self.offset[0, rows, columns] = center[0] - rows
        self.offset[1, rows, columns] = center[1] - columns
        self.weight[rows, columns] = weight

    def draw_center(self, class_id: int, center: tuple[float, float], sigma: float) -> None:
        """Draw the Gaussian of a center at its pixel."""
        draw_gaussians(self.center[class_id], [(floor(center[0]), floor(center[1]))], sigma)


def single_cue_components(components: list[Component], cues: PointCues) -> list[Component]:
    """The components that hold exactly one cue of their class, one instance each."""
    pixels = cues.pixels()
    classes = cues.classes.tolist()
    return [
        component
        for component in components
        if sum(
            class_id == component.class_id and component.contains(y, x)
            for (y, x), class_id in zip(pixels, classes, strict=True)
        )
        == 1
    ]


def _whole_pixel(point: tuple[float, float]) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def transfer_semantic_knowledge(
    weak_sem_seg: Tensor,
    cues: PointCues,
    image_classes: Tensor,
    *,
    sigma: float = 6,
    min_area: int = 50,
    centers: Literal["component", "cue"] = "component",
    whole_pixel_centers: bool = True,
) -> InstanceTargets:
    """Pseudo instance targets of one image (paper: Section 3.3, Listing 4).

    Args:
        weak_sem_seg: (H, W) int WSSS indices (0 background, class + 1, 255 ignore).
        cues: one point per supposed object, (y, x) pixels of the map.
        image_classes: (C,) bool, the image's tags; other classes in the map are passed over.
        sigma: of the Gaussian around a center, in pixels.
        min_area: smaller components are dropped, in pixels.
        centers: ``"component"`` draws the Gaussians at the instances' centroids; ``"cue"`` (point
            supervision) at every cue of a tagged class, with or without an instance. Offsets point
            at the instances' centroids either way, as in the released recipe.
        whole_pixel_centers: a centroid is cut to its integer part (released recipe) instead of
            kept as it is (paper).

    Returns:
        Targets (C, H, W), (2, H, W), (H, W) on the device of ``weak_sem_seg``; weight 1 on the
        pixels of the instances and 0 elsewhere.
    """
    tagged = torch.nonzero(image_classes.cpu()).flatten().tolist()
    index_map = weak_sem_seg.cpu().numpy()
    targets = empty_targets(1, len(image_classes), *index_map.shape)
    canvas = TargetCanvas(targets, 0)
    host_cues = cues.to("cpu")
    for component in single_cue_components(
        class_components(index_map, tagged, min_area), host_cues
    ):
        center = component.centroid
        if whole_pixel_centers:
            center = _whole_pixel(center)
        canvas.guide(*component.pixels(), center, weight=1.0)
        if centers == "component":
            canvas.draw_center(component.class_id, center, sigma)
    if centers == "cue":
        for (y, x), class_id in zip(host_cues.pixels(), host_cues.classes.tolist(), strict=True):
            if class_id in tagged:
                canvas.draw_center(class_id, (y, x), sigma)
    return InstanceTargets(targets.center[0], targets.offset[0], targets.weight[0]).to(
        weak_sem_seg.device
    )


def targets_of_instances(
    instance_map: Tensor,
    classes: Sequence[int],
    num_classes: int,
    *,
    sigma: float = 6,
    min_area: int = 50,
    whole_pixel_centers: bool = True,
) -> InstanceTargets:
    """Pseudo instance targets of one image whose instances are labeled (paper: Table 5).

    Args:
        instance_map: (H, W) int, ``n`` on the pixels of instance ``n - 1``, on the host; other
            values belong to none.
        classes: ``0..C-1`` of each instance.
        num_classes: C.
        sigma, min_area, whole_pixel_centers: as in :func:`transfer_semantic_knowledge`.

    Returns:
        Targets (C, H, W), (2, H, W), (H, W); weight 1 on the pixels of the instances, 0 elsewhere.
    """
    targets = empty_targets(1, num_classes, *instance_map.shape)
    canvas = TargetCanvas(targets, 0)
    numbers = instance_map.numpy()
    for number, class_id in enumerate(classes, start=1):
        rows, columns = np.nonzero(numbers == number)
        if len(rows) < max(min_area, 1):
            continue
        center = (float(rows.mean()), float(columns.mean()))
        if whole_pixel_centers:
            center = _whole_pixel(center)
        canvas.guide(rows, columns, center, weight=1.0)
        canvas.draw_center(class_id, center, sigma)
    return InstanceTargets(targets.center[0], targets.offset[0], targets.weight[0])
