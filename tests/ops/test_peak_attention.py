from __future__ import annotations

import torch

from bestie_d2.ops.peak_attention import peak_attention


def test_values_below_alpha_times_the_channels_peak_are_zeroed():
    features = torch.tensor(
        [
            [[10.0, 7.0, 6.9], [-3.0, 0.0, 9.0]],  # bar 7: the value on the bar stays
            [[1.0, 0.5, 0.7], [0.8, 2.0, 1.4]],  # bar 1.4
            [[-1.0, -2.0, -3.0], [-1.0, -0.5, -9.0]],  # nothing above 0
        ]
    )[None]
    expected = torch.tensor(
        [
            [[10.0, 7.0, 0.0], [0.0, 0.0, 9.0]],
            [[0.0, 0.0, 0.0], [0.0, 2.0, 1.4]],
            [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        ]
    )[None]
    before = features.clone()
    assert torch.equal(peak_attention(features, 0.7), expected)
    assert torch.equal(features, before)


def test_the_peak_is_that_of_the_image_not_of_the_batch():
    features = torch.tensor([[[[10.0, 6.0]]], [[[1.0, 0.9]]]])
    expected = torch.tensor([[[[10.0, 0.0]]], [[[1.0, 0.9]]]])
    assert torch.equal(peak_attention(features, 0.7), expected)


def test_alpha_0_is_relu_and_alpha_1_leaves_the_peak():
    features = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(peak_attention(features, 0.0), features.relu())
    assert (peak_attention(features, 1.0) > 0).sum(dim=(-2, -1)).tolist() == [[1, 1, 1]] * 2


def test_the_gradient_flows_through_what_stays_and_through_nothing_else():
    features = torch.tensor([[[[4.0, 3.0], [2.0, -1.0]]]], requires_grad=True)
    upstream = torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]])
    (peak_attention(features, 0.7) * upstream).sum().backward()
    assert features.grad.tolist() == [[[[1.0, 10.0], [0.0, 0.0]]]]
