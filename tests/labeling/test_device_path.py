"""How a device is used, shown on the processor: neither operations, nor waits, nor memory grow with
the number of instances, and nothing else makes a device's host wait."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bestie_d2.labeling import decode, grouping, refinement
from bestie_d2.labeling import transfer as transferring
from bestie_d2.labeling.decode import group_instances
from bestie_d2.labeling.refinement import components_of, refine_labels, refine_labels_from_points
from bestie_d2.labeling.transfer import transfer_semantic_knowledge
from bestie_d2.structures import InstanceTargets, PointCues

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
    tags = torch.tensor([[True, True, False]] * images)
    cues = PointCues(table[:, :2].float(), table[:, 2], torch.ones(squares))
    logits = torch.randn(images, CLASSES + 1, SIDE, SIDE, generator=random)
    return {
        "logits": logits.scatter_add(1, weak[:, None], torch.full_like(logits, 9.0)),
        "center": center,
        "offset": offset,
        "weak": weak,
        "tags": tags,
        "components": components_of(weak, tags),
        "cues": [cues] * images,
    }


NAMES = ("logits", "center", "offset", "weak", "tags")


def parts(targets: InstanceTargets) -> list[torch.Tensor]:
    found = (targets.center, targets.offset, targets.weight)
    return [part for part in found if part is not None]


def refine(scene: dict) -> list[torch.Tensor]:
    return parts(refine_labels(*(scene[name] for name in NAMES), sigma=SIGMA))


def refine_known(scene: dict) -> list[torch.Tensor]:
    """As training does, which has the components from its loader."""
    maps = [scene[name] for name in NAMES]
    return parts(refine_labels(*maps, sigma=SIGMA, components=scene["components"]))


def refine_from_points(scene: dict) -> list[torch.Tensor]:
    labels = (scene["offset"], scene["weak"], scene["cues"], scene["tags"])
    return parts(refine_labels_from_points(*labels, components=scene["components"]))


def transfer(scene: dict) -> list[torch.Tensor]:
    labels = (scene["weak"][0], scene["cues"][0], scene["tags"][0])
    return parts(transfer_semantic_knowledge(*labels))


def decode_maps(scene: dict) -> list[torch.Tensor]:
    maps = (scene["logits"].softmax(1), scene["center"], scene["offset"])
    return list(group_instances(*(batched[0] for batched in maps)))


WAITS = {refine: 3, refine_known: 1, refine_from_points: 0, transfer: 1, decode_maps: 3}


@pytest.fixture
def waits(monkeypatch) -> list[int]:
    """Holds the size of each transfer to the host."""
    sizes = []

    def counted(tensor: torch.Tensor):
        sizes.append(tensor.nbytes)
        return tensor.numpy()

    for module in (decode, grouping, transferring, refinement):
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
def test_operations_and_waits_do_not_grow_with_instances(run, waits):
    counts = []
    for squares in (4, 16):  # several of a class
        scene = batch(squares)
        waits.clear()
        with Operations() as operations:
            found = run(scene)
        assert found[-1].any()
        counts.append(operations.count)
        assert len(waits) == WAITS[run]
    assert counts[0] == counts[1]


def test_refinement_reads_the_foreground_alone(waits):
    scene = batch(16, images=1)
    waits.clear()
    with Operations() as operations:
        refine_known(scene)
    foreground = int((scene["weak"] > 0).sum())
    assert operations.largest < 2 * scene["center"].numel() < 16 * SIDE**2  # a map for each
    assert waits == [foreground]  # a byte each


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
        name: value.cuda() if isinstance(value, torch.Tensor) else value
        for name, value in scene.items()
    }
    for ours, theirs in zip(run(moved), run(scene), strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=1e-5, rtol=0)
