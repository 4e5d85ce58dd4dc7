import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bestie_d2.ops.heatmap import draw_gaussians, find_peaks


def drawn(shape: tuple[int, ...], centers: list[tuple[int, ...]], sigma: float) -> torch.Tensor:
    """(C, H, W) with Gaussians at (class, y, x)."""
    heatmaps = torch.zeros(shape)
    table = torch.tensor(centers, dtype=torch.int64).reshape(-1, 3)
    scales = torch.full((len(table),), sigma)
    draw_gaussians(heatmaps, table[:, 0], table[:, 1:], scales, sigma)
    return heatmaps


def test_a_gaussian_is_cut_at_three_sigma_plus_one():
    heatmap = drawn((1, 60, 60), [(0, 30, 30)], sigma=6.0)[0]
    assert heatmap[30, 30] == 1.0
    assert heatmap[30, 36].item() == pytest.approx(math.exp(-0.5))
    assert (heatmap[30] > 0).nonzero().flatten().tolist() == [*range(11, 50)]


def test_each_gaussian_has_its_own_scale():
    both = torch.zeros(2, 40, 50)
    yx = torch.tensor([[20, 20], [19, 30]])
    draw_gaussians(both, torch.tensor([0, 1]), yx, torch.tensor([1.5, 4.0]), 4.0)
    assert torch.equal(both[:1], drawn((1, 40, 50), [(0, 20, 20)], 1.5))
    assert torch.equal(both[1:], drawn((1, 40, 50), [(0, 19, 30)], 4.0))


def test_overlapping_gaussians_of_a_class_keep_the_larger_value():
    heatmaps = drawn((3, 9, 12), [(2, 4, 3), (2, 4, 8)], sigma=1.0)
    assert heatmaps[2, 4].tolist() == pytest.approx(
        [0.011109, 0.135335, 0.606531, 1, 0.606531, 0.135335, 0.135335, 0.606531, 1, 0.606531]
        + [0.135335, 0.011109],
        abs=1e-6,
    )
    assert heatmaps[:2].sum() == 0


def test_no_gaussian_leaves_the_maps_empty():
    assert drawn((2, 5, 5), [], sigma=1.0).sum() == 0


@pytest.mark.parametrize("center", [(0, 0), (8, 11), (-2, 5), (4, 13), (-30, -30), (50, 4)])
def test_gaussian_at_or_beyond_the_border_equals_a_crop_of_a_larger_map(center):
    y, x = center
    small = drawn((3, 9, 12), [(1, y, x)], sigma=1.5)
    large = drawn((3, 129, 132), [(1, y + 60, x + 60)], sigma=1.5)
    assert torch.equal(small, large[:, 60:69, 60:72])


def test_find_peaks_orders_by_class_then_value_and_keeps_the_highest():
    heatmap = torch.zeros(3, 6, 20)
    heatmap[2, 1, 1], heatmap[2, 4, 10], heatmap[2, 1, 18] = 0.4, 0.9, 0.3
    heatmap[0, 0, 0] = 0.5
    heatmap[1, 3, 3] = 0.29
    peaks = find_peaks(heatmap, kernel=3, threshold=0.3)
    assert peaks.classes.tolist() == [0, 2, 2, 2]
    assert peaks.yx.tolist() == [[0, 0], [4, 10], [1, 1], [1, 18]]
    assert peaks.scores.tolist() == pytest.approx([0.5, 0.9, 0.4, 0.3])
    assert find_peaks(heatmap, kernel=3, threshold=0.3, max_per_class=1).yx.tolist() == [
        [0, 0],
        [4, 10],
    ]
    assert len(find_peaks(torch.zeros(3, 6, 20))) == 0


def test_find_peaks_refuses_a_threshold_that_everything_reaches():
    with pytest.raises(ValueError, match="above 0"):
        find_peaks(torch.zeros(1, 4, 4), threshold=0.0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 5, 15, 41]), st.floats(0.05, 0.95))
def test_find_peaks_equals_a_max_pool_over_the_full_maps(seed, kernel, threshold):
    random = torch.Generator().manual_seed(seed)
    heatmap = (torch.rand(2, 23, 31, generator=random) * 20).round() / 20  # plateaus on purpose
    pooled = torch.nn.functional.max_pool2d(heatmap, kernel, 1, kernel // 2)
    at_peak = (heatmap == pooled) & (heatmap >= threshold)
    expected = []
    for class_id, mask in enumerate(at_peak.numpy()):
        plateaus, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for label in range(1, count + 1):
            expected.append([class_id, *np.argwhere(plateaus == label)[0].tolist()])
    found = find_peaks(heatmap, kernel=kernel, threshold=threshold, max_per_class=10_000)
    rows = torch.cat([found.classes[:, None], found.yx.long()], dim=1)
    assert sorted(rows.tolist()) == sorted(expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 7, 15, 41]), st.sampled_from([1, 3, 25]))
def test_the_highest_peaks_are_the_first_of_all_of_them(seed, kernel, limit):
    random = torch.Generator().manual_seed(seed)
    heatmap = torch.rand(1, 61, 47, generator=random) - 0.2
    heatmap[:, 20:40] = (heatmap[:, 20:40] * 4).round() / 4  # plateaus of the highest value too
    every = find_peaks(heatmap, kernel=kernel, threshold=0.05, max_per_class=10_000)
    some = find_peaks(heatmap, kernel=kernel, threshold=0.05, max_per_class=limit)
    assert some.yx.tolist() == every.yx[:limit].tolist()
    order = torch.argsort(every.scores, descending=True, stable=True)
    assert order.tolist() == list(range(len(every)))


def test_a_constant_map_has_one_peak():
    assert find_peaks(torch.full((2, 33, 20), 0.5)).yx.tolist() == [[0, 0], [0, 0]]


def test_find_peaks_leaves_its_input_alone_and_takes_any_layout():
    heatmap = torch.rand(2, 30, 20)
    before = heatmap.clone()
    found = find_peaks(heatmap, kernel=5)
    assert torch.equal(heatmap, before)
    strided = heatmap.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert torch.equal(find_peaks(strided, kernel=5).yx, found.yx)
