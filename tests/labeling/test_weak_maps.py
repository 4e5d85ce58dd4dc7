from __future__ import annotations

import torch

from bestie_d2.labeling.weak_maps import cams_to_index_map, to_index_map


def test_probabilities_become_their_likeliest_index_or_255_where_unsure():
    sem_seg = torch.tensor([[[0.7, 0.2, 0.45]], [[0.2, 0.3, 0.5]], [[0.1, 0.5, 0.05]]])
    index_map = to_index_map(sem_seg)
    assert index_map.dtype == torch.uint8
    assert index_map.tolist() == [[0, 2, 1]]
    assert to_index_map(sem_seg, min_margin=0.1).tolist() == [[0, 2, 255]]


def test_a_pixel_goes_to_its_strongest_class_or_to_the_background():
    cams = torch.tensor([[[4.0, 1.0, -2.0, 2.0]], [[9.0, 9.0, 9.0, 9.0]], [[1.0, 5.0, 1.0, 3.0]]])
    # shares of the peak: class 0 has 1, .25, 0, .5; class 2 has .2, 1, .2, .6; class 1 is no tag
    assert cams_to_index_map(cams, [0, 2], (1, 4), 0.3).tolist() == [[1, 3, 0, 3]]
    assert cams_to_index_map(cams, [0, 2], (1, 4), 0.1).tolist() == [[1, 3, 3, 3]]
    assert cams_to_index_map(cams, [0], (1, 4), 0.3).tolist() == [[1, 0, 0, 1]]


def test_without_tags_all_is_background():
    assert cams_to_index_map(torch.ones(2, 3, 3), [], (2, 5), 0.3).tolist() == [[0] * 5] * 2
