"""Small images made legible, and large pictures made small."""

import numpy as np
import torch

from bestie_d2.pictures.drawing import draw_cues
from bestie_d2.pictures.sheets import Enlarged, shrink
from bestie_d2.structures import PointCues


def test_every_pixel_becomes_a_square():
    image = np.array([[[0], [50], [255]], [[100], [0], [0]]], dtype=np.uint8).repeat(3, axis=2)
    large = Enlarged(image, side=7)  # of 3 pixels: twice
    assert large.image[..., 0].tolist() == [
        [0, 0, 50, 50, 255, 255],
        [0, 0, 50, 50, 255, 255],
        [100, 100, 0, 0, 0, 0],
        [100, 100, 0, 0, 0, 0],
    ]
    assert large.maps(np.array([[1, 2]])).tolist() == [[1, 1, 2, 2]] * 2


def test_cues_stay_in_the_middle_of_their_pixels():
    cues = PointCues(torch.tensor([[1.0, 2.0]]), torch.tensor([0]), torch.tensor([1.0]))
    large = Enlarged(np.full((4, 6), 255, dtype=np.uint8), side=18)
    assert large.cues(cues).yx.tolist() == [[4.0, 7.0]]


def test_cues_can_be_drawn_larger():
    photo = np.full((40, 60, 3), 100, dtype=np.uint8)
    cue = PointCues(torch.tensor([[20.0, 30.0]]), torch.tensor([0]), torch.tensor([1.0]))
    small, large = ((draw_cues(photo, cue, radius=r) != photo).any(axis=2) for r in (0, 0.2))
    assert small[20, 30]
    assert small.sum(axis=1).max() < 12
    assert large.sum(axis=1).max() in range(17, 24)  # 2 x (0.2 x 40 + 2) and the middle


def test_a_large_image_stays_as_it_is():
    image = np.full((40, 60, 3), 200, dtype=np.uint8)
    assert (Enlarged(image, side=20).image == image).all()


def test_shrunk_pictures_keep_their_shape():
    picture = np.full((40, 60, 3), 9, dtype=np.uint8)
    assert shrink(picture, side=30).shape == (20, 30, 3)
    assert shrink(picture, side=60) is picture
