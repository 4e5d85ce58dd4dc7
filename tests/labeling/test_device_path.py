"""What maps on a device go through, run on the processor: it equals the host's way, and neither its
operations, nor its waits, nor its memory grow with the number of instances."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bestie_d2.labeling import drawing, evidence, grouping
from bestie_d2.labeling.grouping import group_instances
from bestie_d2.labeling.pseudo_labels import transfer_semantic_knowledge
from bestie_d2.labeling.refinement import refine_labels, refine_labels_from_points
from bestie_d2.ops import heatmap
from bestie_d2.structures import PointCues

SIDE, CELL, CLASSES = 64, 16, 3  # 4 x 4 squares of 12 pixels fit
SIGMA = 2  # Gaussians in proportion to the squares


def batch(squares: int, images: int = 2) -> dict[str, torch.Tensor | list[PointCues]]:
    """Images of some squares of class 0 or 1, each with a peak that its pixels point at."""
    random = torch.Generator().manual_seed(0)
    weak = torch.zeros(images, SIDE, SIDE, dtype=torch.int64)
    center = torch.rand(images, CLASSES, SIDE, SIDE, generator=random) / 20
    offset = torch.zeros(images, 2, SIDE, SIDE)
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    points = []
    for number in range(squares):
        top, left = (CELL * place + 2 for place in divmod(number, 4))
        window = (slice(top, top + 12), slice(left, left + 12))
        weak[(..., *window)] = number % 2 + 1
        offset[(..., *window)] = torch.stack([5 - rows, 5 - columns]).float()
        center[:, number % 2, top + 5, left + 5] = 0.8
        points.append((top + 5, left + 5, number % 2))
    table = torch.tensor(points)
    cues = PointCues(table[:, :2].float(), table[:, 2], torch.ones(squares))
    logits = torch.randn(images, CLASSES + 1, SIDE, SIDE, generator=random)
    return {
        "logits": logits.scatter_add(1, weak[:, None], torch.full_like(logits, 9.0)),
        "center": center,
        "offset": offset,
        "weak": weak,
        "tags": torch.tensor([[True, True, False]] * images),
        "cues": [cues] * images,
    }


def refine(scene: dict) -> list[torch.Tensor]:
    targets = refine_labels(
        *(scene[name] for name in ("logits", "center", "offset", "weak", "tags")), sigma=SIGMA
    )
    return [targets.center, targets.offset, targets.weight]


def refine_from_points(scene: dict) -> list[torch.Tensor]:
    targets = refine_labels_from_points(
        scene["offset"], scene["weak"], scene["cues"], scene["tags"]
    )
    return [targets.offset, targets.weight]


def transfer(scene: dict) -> list[torch.Tensor]:
    targets = transfer_semantic_knowledge(scene["weak"][0], scene["cues"][0], scene["tags"][0])
    return [targets.center, targets.offset, targets.weight]


def decode(scene: dict) -> list[torch.Tensor]:
    maps = (scene["logits"].softmax(1), scene["center"], scene["offset"])
    return list(group_instances(*(batched[0] for batched in maps)))


WAITS = {refine: 2, refine_from_points: 2, transfer: 1, decode: 2}


@pytest.fixture
def waits(monkeypatch) -> list[int]:
    """Sends everything through the device's path; holds the size of each transfer to the host."""
    sizes = []

    def counted(tensor: torch.Tensor):
        sizes.append(tensor.nbytes)
        return tensor.numpy()

    for module in (drawing, evidence, grouping, heatmap):
        monkeypatch.setattr(module, "in_host_memory", lambda device: False)
    for module in (evidence, grouping):
        monkeypatch.setattr(module, "fetch", counted)
    return sizes


# What reads a value, or finds a size, that only the device knows: waits that nobody would count.
WAITING = {
    *("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "nonzero_numpy", "masked_select"),
    *("unique_dim", "_unique2", "unique_consecutive", "bincount"),
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Operations(TorchDispatchMode):
    """Counts operations, remembers the largest result with memory of its own, and allows nothing
    that would make a device's host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device"
        if name in INDEXING:
            indices = [index for index in args[1] if index is not None]
            assert all(index.dtype != torch.bool for index in indices), "a mask as index waits"
        given = {own.untyped_storage().data_ptr() for own in args if isinstance(own, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        self.count += 1
        if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() not in given:
            self.largest = max(self.largest, result.numel())
        return result


@pytest.mark.parametrize(
    "waiting",
    [
        lambda t: bool(t.isfinite().all()),
        lambda t: t.nonzero(),
        lambda t: t[t > 0],
        lambda t: t.masked_fill_(t > 0, 1)[t > 0],
        lambda t: t.__setitem__(t > 0, 0.0),
        lambda t: t.max().item(),
    ],
)
def test_what_waits_is_not_allowed(waiting):
    with pytest.raises(AssertionError, match="wait"), Operations():
        waiting(torch.ones(3))


@pytest.mark.parametrize("run", WAITS)
def test_the_devices_path_equals_the_hosts(run, request):
    scene = batch(6)
    on_host = run(scene)
    request.getfixturevalue("waits")
    assert on_host[-1].any()
    for ours, theirs in zip(run(scene), on_host, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("run", WAITS)
def test_operations_and_waits_do_not_grow_with_instances(run, waits):
    counts = []
    for squares in (2, 16):
        waits.clear()
        scene = batch(squares)
        with Operations() as operations:
            run(scene)
        counts.append(operations.count)
        assert len(waits) == WAITS[run]
    assert counts[0] == counts[1]


def test_refinement_reads_the_foreground_alone(waits):
    scene = batch(16, images=1)
    with Operations() as operations:
        refine(scene)
    pixels = scene["weak"].numel()
    foreground = int((scene["weak"] > 0).sum())
    new_targets, all_scores = scene["center"].numel(), scene["logits"].numel()
    assert operations.largest == new_targets < all_scores < 16 * SIDE**2  # a map for each instance
    assert waits == [pixels + scene["tags"].numel(), 4 * 4 * foreground]


@pytest.mark.parametrize("layout", ["channels last", "bfloat16", "a slice"])
def test_maps_of_any_layout_are_read_as_they_are(layout):
    scene = batch(6)
    plain = refine(scene)
    for name in ("logits", "center", "offset"):
        if layout == "channels last":
            scene[name] = scene[name].to(memory_format=torch.channels_last)
        elif layout == "bfloat16":
            scene[name] = scene[name].bfloat16()
        else:
            scene[name] = torch.cat([scene[name]] * 2, dim=-1)[..., SIDE:]
    for ours, theirs in zip(refine(scene), plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-3 if layout == "bfloat16" else 0, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("run", WAITS)
def test_a_gpu_gives_what_the_host_gives(run):
    scene = batch(6)
    moved = {
        name: [cues.to("cuda") for cues in value] if name == "cues" else value.cuda()
        for name, value in scene.items()
    }
    for ours, theirs in zip(run(moved), run(scene), strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=1e-5, rtol=0)
