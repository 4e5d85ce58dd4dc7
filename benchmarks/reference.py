"""The method as the paper's listings state it: component by component, over whole maps.

For comparing with and for measuring against; written for this purpose and to be read, not to be
slow on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bestie_d2.structures import InstanceTargets, PointCues, wsss_index

MIN_AREA = 50
MAX_INSTANCES = 5
KERNEL = 41
SIGMA = 6.0
MAGNITUDE, SPOT_AREA, SPOT_TOLERANCE = 2.5, 21, 3  # center clustering
SPOT_CENTER, SPOT_DISTANCE = 0.05, 100.0


def components(mask: Tensor, connectivity: int, min_area: int = 1) -> Iterator[Tensor]:
    """(H, W) bool of each connected region of a (H, W) bool mask."""
    count, labels = cv2.connectedComponents(
        mask.numpy().astype(np.uint8), connectivity=connectivity
    )
    for label in range(1, count):
        region = torch.from_numpy(labels == label)
        if region.sum() >= min_area:
            yield region


def grid(size: torch.Size) -> Tensor:
    """(2, H, W) float: each pixel's (y, x)."""
    return torch.stack(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")).float()


def centroid(mask: Tensor) -> Tensor:
    """(2,) float64 mean (y, x)."""
    return mask.nonzero().double().mean(dim=0)


def gaussian(size: torch.Size, yx: Tensor) -> Tensor:
    """(H, W) Gaussian around a whole pixel, cut at 3 sigma + 1."""
    apart = grid(size) - yx[:, None, None]
    near = apart.abs().amax(dim=0) <= 3 * SIGMA + 1
    return torch.exp(-apart.square().sum(dim=0) / (2 * SIGMA**2)) * near


def peaks(heatmap: Tensor, kernel: int, threshold: float, inclusive: bool = False) -> Tensor:
    """(N, 2) pixels of a (H, W) map that equal the maximum of their window (Listing 3); of touching
    ones the first."""
    pooled = F.max_pool2d(heatmap[None], kernel, stride=1, padding=kernel // 2)[0]
    high = heatmap >= threshold if inclusive else heatmap > threshold
    highest = ((heatmap == pooled) & high).numpy()
    _, plateaus = cv2.connectedComponents(highest.astype(np.uint8), connectivity=8)
    labels, first = np.unique(plateaus, return_index=True)
    return torch.from_numpy(np.stack(np.divmod(first[labels > 0], heatmap.shape[1]), axis=1))


def find_peaks(heatmap: Tensor, kernel: int, threshold: float, max_per_class: int) -> PointCues:
    """The highest peaks of each class of a (C, H, W) map."""
    yx, classes, scores = [], [], []
    for class_id, channel in enumerate(heatmap):
        places = peaks(channel, kernel, threshold, inclusive=True)
        values = channel[places[:, 0], places[:, 1]]
        highest = values.argsort(descending=True, stable=True)[:max_per_class]
        yx.append(places[highest].float())
        classes.append(torch.full((len(highest),), class_id))
        scores.append(values[highest])
    return PointCues(torch.cat(yx), torch.cat(classes), torch.cat(scores))


def transfer(weak_sem_seg: Tensor, cues: PointCues, image_classes: Tensor) -> InstanceTargets:
    """Semantic knowledge transfer of one image (Listing 4)."""
    targets = empty(len(image_classes), weak_sem_seg.shape)
    for class_id in image_classes.nonzero().flatten().tolist():
        for region in components(weak_sem_seg == wsss_index(class_id), 8, MIN_AREA):
            inside = sum(
                cue_class == class_id and bool(region[y, x])
                for (y, x), cue_class in zip(cues.pixels(), cues.classes.tolist(), strict=True)
                if 0 <= y < region.shape[0] and 0 <= x < region.shape[1]
            )
            if inside == 1:
                draw(targets, class_id, region, centroid(region).floor(), 1.0)
    return targets


def empty(num_classes: int, size: torch.Size) -> InstanceTargets:
    return InstanceTargets(
        torch.zeros(num_classes, *size), torch.zeros(2, *size), torch.zeros(*size)
    )


def draw(
    targets: InstanceTargets, class_id: int, mask: Tensor, center: Tensor, weight: float
) -> None:
    """Draw one instance into the targets of an image."""
    size = mask.shape
    targets.offset[:] = torch.where(
        mask, center.float()[:, None, None] - grid(size), targets.offset
    )
    targets.weight[mask] = weight
    channel = targets.center[class_id]
    torch.maximum(channel, gaussian(size, center.float()), out=channel)


def find_centers(
    region: Tensor, center: Tensor, offset: Tensor, threshold: float
) -> tuple[Tensor, int]:
    """(N, 2) centers of a region of one class, and how many of them are peaks."""
    found = peaks(center * region, KERNEL, threshold)
    short = (offset.square().sum(dim=0) < MAGNITUDE**2) & region
    spots = [
        centroid(spot).long()
        for spot in components(short, 4)
        if abs(int(spot.sum()) - SPOT_AREA) < SPOT_TOLERANCE
    ]
    clustered = [
        spot
        for spot in spots
        if region[tuple(spot)]
        and center[tuple(spot)] > SPOT_CENTER
        and all((found - spot).float().norm(dim=1) > SPOT_DISTANCE)
    ]
    return torch.stack([*found, *clustered]) if len(found) or clustered else found, len(found)


def split(region: Tensor, centers: Tensor, offset: Tensor) -> list[tuple[int, Tensor]]:
    """The centers that pixels of a region vote for, and the (H, W) mask of each (Eq. 1)."""
    votes = grid(region.shape) + offset
    distance = (votes[None] - centers[:, :, None, None]).square().sum(dim=1)
    nearest = distance.argmin(dim=0)
    masks = ((k, region & (nearest == k)) for k in range(len(centers)))
    return [(k, mask) for k, mask in masks if mask.any()]


def refine(
    logits: Tensor,
    center: Tensor,
    offset: Tensor,
    weak_sem_seg: Tensor,
    image_classes: Tensor,
    threshold: float = 0.3,
) -> InstanceTargets:
    """Self-refinement of one image (Listing 5), released weights."""
    targets = empty(len(center), weak_sem_seg.shape)
    probability = logits.softmax(dim=0)
    for class_id in image_classes.nonzero().flatten().tolist():
        index = wsss_index(class_id)
        for region in components(weak_sem_seg == index, 8, MIN_AREA):
            centers, _ = find_centers(region, center[class_id], offset, threshold)
            found = split(region, centers, offset) if len(centers) else []
            for k, mask in found if len(found) <= MAX_INSTANCES else []:
                values = torch.where(mask, center[class_id], -torch.inf)
                weight = probability[index][mask].mean()
                place = centers[k]
                if values.max() > threshold:
                    place = (values == values.max()).nonzero()[0]
                    weight = weight * values.max()
                draw(targets, class_id, mask, place, float(weight.clamp(0, 1)))
    return targets


def decode(
    probability: Tensor, center: Tensor, offset: Tensor, threshold: float = 0.1
) -> list[tuple[int, Tensor, float]]:
    """Class, (H, W) mask and score of each instance of one image (Eq. 1)."""
    semantic, found = probability.argmax(dim=0), []
    for class_id in range(len(center)):
        index = wsss_index(class_id)
        for region in components(semantic == index, 8, MIN_AREA):
            centers, num_peaks = find_centers(region, center[class_id], offset, threshold)
            parts = split(region, centers, offset) if len(centers) else [(0, region)]
            for k, mask in parts:
                likely = float(probability[index][mask].mean())
                highest = float(center[class_id][mask].max())
                clustered = len(centers) > 0 and k >= num_peaks
                sure = likely if clustered or highest > 1 else max(highest, 0.0)
                found.append((class_id, mask, likely * sure))
    return found


def guided_losses(
    center: Tensor, offset: Tensor, targets: InstanceTargets
) -> tuple[Tensor, Tensor]:
    """Center and offset loss of a batch under guidance, for autograd to differentiate (Eq. 3,
    4)."""
    guided = (targets.weight > 0).sum()
    squared = (center - targets.center) ** 2 * targets.weight[:, None]
    absolute = (offset - targets.offset).abs() * targets.weight[:, None]
    return squared.sum() / guided, absolute.sum() / guided
