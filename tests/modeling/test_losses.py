import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bestie_d2.modeling import losses
from bestie_d2.modeling.losses import guided_errors, top_k_cross_entropy, weighted_l1, weighted_mse


def test_weighted_mse_counts_every_class_channel_of_guided_pixels():
    pred = torch.tensor([[[1.0, 2.0, 9.0]], [[0.0, 1.0, 9.0]]])  # (2, 1, 3)
    weight = torch.tensor([[1.0, 0.5, 0.0]])
    # (1 + 0) * 1 + (4 + 1) * 0.5 over 2 guided pixels
    assert weighted_mse(pred, torch.zeros(2, 1, 3), weight).item() == pytest.approx(1.75)


def test_weighted_l1_is_a_mean_over_the_whole_batch():
    pred = torch.zeros(2, 2, 1, 2)
    pred[0, :, 0, 0] = torch.tensor([3.0, -1.0])
    pred[1, :, 0, 1] = torch.tensor([2.0, 2.0])
    weight = torch.tensor([[[1.0, 0.0]], [[1.0, 0.5]]])
    # (3 + 1) * 1 + (0 + 0) * 1 + (2 + 2) * 0.5 over 3 guided pixels
    assert weighted_l1(pred, torch.zeros_like(pred), weight).item() == pytest.approx(2.0)


@pytest.mark.parametrize("loss", [weighted_mse, weighted_l1])
def test_without_guidance_the_loss_is_zero_and_keeps_its_gradient(loss):
    pred = torch.ones(1, 2, 4, 4, requires_grad=True)
    value = loss(pred, torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4))
    value.backward()
    assert value.item() == 0
    assert pred.grad.abs().sum() == 0


def logits_of(losses: list[float]) -> torch.Tensor:
    """(1, 2, 1, n) logits whose cross entropy against class 0 is as given."""
    probability = torch.tensor(losses).neg().exp()
    return torch.stack([probability, 1 - probability]).log().view(1, 2, 1, -1)


def test_top_k_cross_entropy_takes_the_hardest_pixels():
    logits = logits_of([0.1, 4.0, 0.2, 2.0, 0.3])
    labels = torch.zeros(1, 1, 5, dtype=torch.uint8)
    assert top_k_cross_entropy(logits, labels, k=0.4).item() == pytest.approx(3.0, rel=1e-5)
    assert top_k_cross_entropy(logits, labels, k=1.0).item() == pytest.approx(1.32, rel=1e-5)
    assert top_k_cross_entropy(logits, labels, k=0.01).item() == pytest.approx(4.0, rel=1e-5)


def test_ignored_pixels_count_for_nothing():
    logits = logits_of([0.1, 4.0, 0.2, 2.0, 0.3])
    labels = torch.tensor([[[0, 255, 0, 0, 0]]])
    assert top_k_cross_entropy(logits, labels, k=1.0).item() == pytest.approx(0.65, rel=1e-5)
    assert top_k_cross_entropy(logits, labels, k=0.4).item() == pytest.approx(1.15, rel=1e-5)
    everything = torch.full((1, 1, 5), 255)
    for k in (0.2, 1.0):
        loss = top_k_cross_entropy(logits.requires_grad_(), everything, k=k)
        loss.backward()
        assert loss.item() == 0


@pytest.mark.parametrize(
    ("hardest", "tied"),
    [(0.1, False), (0.3, True), (0.4, False), (0.6, True), (0.9, False), (1.0, False)],
)
def test_the_mean_over_processes_is_the_loss_of_all_their_pixels(hardest, tied, monkeypatch):
    """Of two processes, with pixels of equal loss in both, and ignored ones."""
    logits = logits_of([3.0, 0.5, 0.5, 2.0, 1.0, 0.5, 2.0, 0.1, 0.5, 4.0]).requires_grad_()
    labels = torch.tensor([0, 0, 0, 0, 255, 0, 0, 0, 255, 0]).view(1, 1, 10)
    whole = top_k_cross_entropy(logits, labels, k=hardest)
    (wanted,) = torch.autograd.grad(whole, logits)
    every_loss = F.cross_entropy(logits, labels, ignore_index=255, reduction="none").detach()
    monkeypatch.setattr(losses.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(losses, "_of_all_processes", lambda values: every_loss.flatten())
    known = (labels != 255).sum()
    monkeypatch.setattr(losses.distributed, "all_reduce", lambda count: count.copy_(known))
    halves = [
        top_k_cross_entropy(logits[..., part], labels[..., part], k=hardest, shared=True)
        for part in (slice(5), slice(5, 10))
    ]
    assert (sum(halves) / 2).item() == pytest.approx(whole.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(sum(halves) / 2, logits)
    if tied:  # any of the equal pixels will do
        gradient, wanted = gradient.abs().sum(), wanted.abs().sum()
    torch.testing.assert_close(gradient, wanted)


def written_out(pred, target, weight, power: int) -> torch.Tensor:
    """The guided losses as the paper has them (Eq. 3, 4), for autograd to differentiate."""
    error = (pred - target).abs() ** power
    return (error * weight.unsqueeze(-3)).sum() / (weight > 0).sum().clamp(min=1)


@pytest.mark.parametrize(("loss", "power"), [(weighted_mse, 2), (weighted_l1, 1)])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_value_and_gradient_are_those_of_the_loss_written_out(loss, power, batch):
    torch.manual_seed(0)
    pred = torch.randn(*batch, 5, 6, 7, dtype=torch.float64)
    target = torch.rand(*batch, 5, 6, 7)
    weight = torch.rand(*batch, 6, 7) * (torch.rand(*batch, 6, 7) > 0.5)
    found, gradients = [], []
    for value_of in (loss, lambda *maps: written_out(*maps, power)):
        own = pred.clone().requires_grad_()
        value = value_of(own, target.double(), weight.double())
        (3 * value).backward()
        found.append(value.item())
        gradients.append(own.grad)
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    torch.testing.assert_close(*gradients)


class NewTensors(TorchDispatchMode):
    """Notes how many values each tensor has that is given memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = (*args, *(kwargs or {}).values())
        given = {t.untyped_storage().data_ptr() for t in tensors if isinstance(t, torch.Tensor)}
        if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() not in given:
            self.sizes.append(result.numel())
        return result


@pytest.mark.parametrize("loss", [weighted_mse, weighted_l1])
def test_no_copy_of_a_batch_is_made_but_for_the_gradient(loss):
    batch, classes, height, width = 6, 80, 8, 9
    pred = torch.rand(batch, classes, height, width, requires_grad=True)
    target, weight = torch.rand(batch, classes, height, width), torch.rand(batch, height, width)
    one_image = classes * height * width
    with NewTensors() as forward:
        value = loss(pred, target, weight)
    assert max(forward.sizes) == one_image
    with NewTensors() as backward:
        value.backward()
    assert [size for size in backward.sizes if size > one_image] == [pred.numel()]


def test_several_guides_share_one_gradient():
    torch.manual_seed(0)
    batch, classes, height, width = 4, 20, 5, 6
    pred = torch.rand(batch, classes, height, width, requires_grad=True)
    guides = [
        (torch.rand_like(pred), torch.rand(batch, height, width) * (number != 2))
        for number in range(3)  # nothing is guided by the last one
    ]
    with NewTensors() as tensors:
        values = guided_errors(pred, guides, squared=True)
        (gradient,) = torch.autograd.grad(values[0] + 3 * values[1] + values[2], pred)
    assert [size for size in tensors.sizes if size >= pred.numel()] == [pred.numel()]
    expected = [written_out(pred, *guide, 2) for guide in guides]
    torch.testing.assert_close(torch.stack(values), torch.stack(expected))
    assert values[2] == 0
    (wanted,) = torch.autograd.grad(expected[0] + 3 * expected[1], pred)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    pred = torch.full((1, 2, 300, 300), 40.0, dtype=dtype, requires_grad=True)
    weight = torch.ones(1, 300, 300)
    value = weighted_l1(pred, torch.zeros(1, 2, 300, 300), weight)
    assert (value.item(), value.dtype) == (80.0, torch.float32)
    value.backward()
    assert pred.grad.dtype == dtype
    assert pred.grad.double().unique().item() == pytest.approx(1 / 90_000, rel=5e-3)


def test_shapes_are_expanded_or_refused():
    pred, one = torch.ones(2, 3, 4, 5), torch.zeros(1, 3, 4, 5)
    assert weighted_mse(pred, one, torch.ones(1, 4, 5)).item() == 3
    with pytest.raises(RuntimeError, match="expand"):
        weighted_mse(pred, one, torch.ones(3, 4, 5))
    with pytest.raises(RuntimeError, match="expand"):
        weighted_mse(pred[:1], torch.zeros(2, 3, 4, 5), torch.ones(4, 5))
