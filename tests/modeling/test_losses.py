import pytest
import torch

from bestie_d2.modeling.losses import top_k_cross_entropy, weighted_l1, weighted_mse


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
