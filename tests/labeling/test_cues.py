"""Cues out of activation maps, on maps small enough to work out by hand."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from bestie_d2.labeling.cues import activation_maps, extract_cues


def test_activation_maps_upsample_what_is_above_zero_and_divide_by_the_peak():
    raw = torch.tensor([[[-4.0, 0.0], [2.0, -1.0]]])
    maps = activation_maps(raw, (4, 4))
    # Bilinear with pixel centers at 1/4 and 3/4: 0, 1/4, 3/4 and 1 of the way along each axis.
    expected = torch.outer(torch.tensor([0.0, 0.25, 0.75, 1.0]), torch.tensor([1, 0.75, 0.25, 0]))
    torch.testing.assert_close(maps[0], expected * 2 / (2 + 1e-5))
    assert raw.tolist() == [[[-4.0, 0.0], [2.0, -1.0]]]


def test_each_class_is_divided_by_its_own_peak_and_nothing_stays_nothing():
    maps = activation_maps(torch.tensor([[[8.0]], [[0.5]], [[-3.0]]]), (2, 3))
    assert maps[0].unique().item() == pytest.approx(8 / (8 + 1e-5))
    assert maps[1].unique().item() == pytest.approx(0.5 / (0.5 + 1e-5))
    assert maps[2].tolist() == [[0.0] * 3] * 2


def test_an_image_without_tags_has_no_maps_and_no_cues():
    maps = activation_maps(torch.zeros(0, 5, 5), (20, 30))
    assert maps.shape == (0, 20, 30)
    assert len(extract_cues(maps, [])) == 0


def test_cues_are_peaks_of_the_smoothed_map_and_carry_its_values():
    maps = torch.zeros(2, 9, 20)
    maps[0, 4, 4] = 0.9  # alone: the mean over 3x3 is 0.1 all around it, first pixel counts
    maps[0, 3:6, 14:17] = 0.9  # whole window: stays 0.9 in its middle
    maps[1, 4, 10:13] = 0.9  # a line: 0.3 at the middle, on three rows
    cues = extract_cues(maps, [7, 2], kernel=5, min_score=0.05)
    assert cues.classes.tolist() == [7, 7, 2]
    assert cues.yx.tolist() == [[4, 15], [3, 3], [3, 11]]
    assert cues.scores.tolist() == pytest.approx([0.9, 0.1, 0.3])


def test_border_pixels_go_on_beyond_the_border():
    maps = torch.zeros(1, 5, 5)
    maps[0, 0, 0] = 0.9
    (score,) = extract_cues(maps, [0], kernel=3).scores.tolist()
    assert score == pytest.approx(0.9 * 4 / 9)  # the corner counts four times


def test_no_smoothing_a_bar_and_at_most_so_many_of_a_class():
    maps = torch.zeros(1, 5, 30)
    maps[0, 2, [2, 12, 22]] = torch.tensor([0.3, 0.8, 0.09])
    cues = extract_cues(maps, [1], smoothing=1)
    assert cues.yx.tolist() == [[2, 12], [2, 2]]
    assert cues.scores.tolist() == pytest.approx([0.8, 0.3])
    assert extract_cues(maps, [1], smoothing=1, max_per_class=1).yx.tolist() == [[2, 12]]
    assert len(extract_cues(maps, [1], smoothing=1, min_score=0.05)) == 3


def test_scores_equal_another_mean_filter_on_random_maps():
    maps = torch.rand(3, 40, 50)
    cues = extract_cues(maps, [0, 1, 2], max_per_class=1000)
    for index, (y, x) in enumerate(cues.pixels()):
        channel = maps[cues.classes[index]].numpy()
        mean = ndimage.uniform_filter(channel, 3, mode="nearest")
        assert float(cues.scores[index]) == pytest.approx(float(mean[y, x]), abs=1e-6)
        window = mean[max(y - 7, 0) : y + 8, max(x - 7, 0) : x + 8]
        assert mean[y, x] == window.max()
    assert len(cues) > 30
