"""What is measured: each function on each scene, beside the plain reference, which must agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import reference
import torch
import torch.nn.functional as F
from scenes import SIGMA, Layout, Scene, make_scene
from torch import Tensor

from bestie_d2.labeling.decode import group_instances
from bestie_d2.labeling.refinement import components_of, refine_labels
from bestie_d2.labeling.targets import draw_targets
from bestie_d2.labeling.transfer import Transfer, transfer_semantic_knowledge
from bestie_d2.modeling.losses import guided_errors
from bestie_d2.ops.heatmap import find_peaks
from bestie_d2.structures import InstanceTargets, PointCues

CROP = (416, 416)  # training
IMAGE = (375, 500)  # VOC
BATCH = 4
TOLERANCE = 1e-4
MAPS = ("center", "offset", "weight")  # of targets
PEAK_KERNEL, PEAK_THRESHOLD, PEAKS_PER_CLASS = 15, 0.1, 25  # MODEL.PAM.CUES
MIN_AREA = 50  # pixels, MODEL.BESTIE.MIN_AREA
SMOOTHING = 3  # side of the mean filter over noise, in pixels


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        function: what is measured.
        scene: on what.
        amount: number of instances, 0 where they are not what is drawn.
        images: how many a run works on.
        ours, plain: the runs.
        check: raises AssertionError where what they return differs.
    """

    function: str
    scene: str
    amount: int
    images: int
    ours: Callable[[], object]
    plain: Callable[[], object]
    check: Callable[[object, object], None]


def refinement(instances: int, size: tuple[int, int] = CROP, layout: Layout = "separate") -> Case:
    scenes = [make_scene(instances, size, layout=layout, seed=seed) for seed in range(BATCH)]
    batch = _stacked(scenes, ("logits", "center", "offset", "weak_sem_seg", "image_classes"))

    def plain() -> InstanceTargets:
        images = [reference.refine(*image) for image in zip(*batch, strict=True)]
        return InstanceTargets(*_stacked(images, MAPS))

    return Case(
        "refinement",
        _title(instances, size, layout),
        instances,
        BATCH,
        partial(refine_labels, *batch, components=components_of(*batch[-2:], MIN_AREA)),
        plain,
        same_targets,
    )


def decoding(instances: int, size: tuple[int, int] = IMAGE, layout: Layout = "separate") -> Case:
    scene = make_scene(instances, size, layout=layout)
    maps = (scene.logits.softmax(dim=0), scene.center, scene.offset)
    title = _title(instances, size, layout)
    ours, plain = partial(group_instances, *maps), partial(reference.decode, *maps)
    return Case("decoding", title, instances, 1, ours, plain, same_instances)


def transfer(instances: int, size: tuple[int, int] = CROP) -> Case:
    scene = make_scene(instances, size)
    labels = (scene.weak_sem_seg, scene.cues, scene.image_classes)
    return Case(
        "transfer",
        _title(instances, size, "separate"),
        instances,
        1,
        partial(transfer_semantic_knowledge, *labels),
        partial(reference.transfer, *labels),
        same_targets,
    )


def peaks(title: str, heatmap: Tensor) -> Case:
    run = (heatmap, PEAK_KERNEL, PEAK_THRESHOLD, PEAKS_PER_CLASS)
    ours = partial(
        find_peaks,
        heatmap,
        kernel=PEAK_KERNEL,
        threshold=PEAK_THRESHOLD,
        max_per_class=PEAKS_PER_CLASS,
    )
    return Case("peaks", title, 0, 1, ours, partial(reference.find_peaks, *run), same_peaks)


def losses(num_classes: int, instances: int = 8, size: tuple[int, int] = CROP) -> Case:
    """The guided losses of a batch against pseudo and refined targets, and their gradients."""
    scenes = [
        make_scene(instances, size, num_classes=num_classes, seed=seed) for seed in range(BATCH)
    ]
    logits, center, offset = _stacked(scenes, ("logits", "center", "offset"))
    labels = _stacked(scenes, ("weak_sem_seg", "image_classes"))
    weak = [
        components_of(scene.weak_sem_seg[None], scene.image_classes[None])[0] for scene in scenes
    ]
    found = [
        Transfer(SIGMA).label(components, components.count_cues(scene.cues) == 1)
        for components, scene in zip(weak, scenes, strict=True)
    ]
    kinds = [
        draw_targets(found, num_classes=num_classes),
        refine_labels(logits, center, offset, *labels),
    ]
    maps = (center.requires_grad_(), offset.requires_grad_())

    def ours() -> list[Tensor]:
        centers = [(targets.center, targets.weight) for targets in kinds]
        offsets = [(targets.offset, targets.weight) for targets in kinds]
        values = (
            *guided_errors(center, centers, squared=True),
            *guided_errors(offset, offsets, squared=False),
        )
        return [sum(values), *torch.autograd.grad(sum(values), maps)]

    def plain() -> list[Tensor]:
        value = sum(sum(reference.guided_losses(*maps, targets)) for targets in kinds)
        return [value, *torch.autograd.grad(value, maps)]

    title = f"{num_classes} classes, {size[0]}x{size[1]}"
    return Case("losses", title, 0, BATCH, ours, plain, same_tensors)


def _stacked(images: Sequence[Scene | InstanceTargets], names: tuple[str, ...]) -> list[Tensor]:
    """Parts of the images as batches."""
    return [torch.stack([getattr(image, name) for image in images]) for name in names]


def _title(instances: int, size: tuple[int, int], layout: Layout) -> str:
    return f"{instances} {layout.replace('_', ' ')}, {size[0]}x{size[1]}"


def activations(scene: Scene) -> Tensor:
    """(C, H, W) center maps of the tagged classes as a classifier's: zeros for other classes."""
    return scene.center * scene.image_classes[:, None, None]


def noise(num_classes: int, size: tuple[int, int]) -> Tensor:
    """(C, H, W) of smoothed uniform noise: peaks everywhere, the worst case."""
    values = torch.rand(num_classes, *size, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(values[None], SMOOTHING, 1, SMOOTHING // 2)[0]


def all_cases(only: Collection[str]) -> Iterator[Case]:
    """The table's lines for some functions; a scene is drawn when its turn comes."""
    if "refinement" in only:
        yield from (refinement(instances) for instances in (1, 3, 8, 20))
        yield from (refinement(instances, layout="touching") for instances in (8, 20))
    if "decoding" in only:
        yield from (decoding(instances) for instances in (1, 10, 40))
        yield decoding(40, layout="one_component")
    if "transfer" in only:
        yield from (transfer(instances) for instances in (1, 3, 8, 20))
    if "losses" in only:
        yield from (losses(num_classes) for num_classes in (20, 80))
    if "peaks" in only:
        yield peaks("20 classes, three tagged", activations(make_scene(12, IMAGE)))
        yield peaks("20 classes of noise", noise(20, IMAGE))


def sizes(function: Callable[..., Case], instances: int) -> Iterator[tuple[int, Case]]:
    """One scene at growing sizes: number of pixels and case."""
    for side in (256, 512, 1024):
        yield side**2, function(instances, (side, side))


def same_targets(ours: InstanceTargets, plain: InstanceTargets) -> None:
    same_tensors(*([getattr(targets, name) for name in MAPS] for targets in (ours, plain)))


def same_tensors(ours: list[Tensor], plain: list[Tensor]) -> None:
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def same_instances(
    ours: tuple[Tensor, Tensor, Tensor], plain: list[tuple[int, Tensor, float]]
) -> None:
    """Equal classes, masks and scores in any order."""

    def sort_key(instance: tuple[int, Tensor, float]) -> tuple[int, list[int]]:
        return instance[0], instance[1].flatten().nonzero()[0].tolist()

    masks, classes, scores = ours
    found = sorted(zip(classes.tolist(), masks, scores.tolist(), strict=True), key=sort_key)
    expected = sorted(plain, key=sort_key)
    assert [i[0] for i in found] == [i[0] for i in expected], "classes differ"
    for (_, mask, score), (_, plain_mask, plain_score) in zip(found, expected, strict=True):
        assert torch.equal(mask, plain_mask), "masks differ"
        assert abs(score - plain_score) < TOLERANCE, "scores differ"


def same_peaks(ours: PointCues, plain: PointCues) -> None:
    for name in ("yx", "classes", "scores"):
        assert torch.equal(getattr(ours, name), getattr(plain, name)), f"{name} differ"
