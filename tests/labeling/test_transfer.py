import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bestie_d2.labeling.transfer import split_at_cues, transfer_semantic_knowledge
from bestie_d2.ops.components import find_components
from bestie_d2.structures import PointCues

TAGS = torch.tensor([True, True, False])


def scene() -> torch.Tensor:
    """A 4x4 square of class 0 top left, a 3x6 bar of class 1 at the right, class 2 untagged."""
    weak = torch.zeros(12, 20, dtype=torch.uint8)
    weak[1:5, 1:5] = 1
    weak[6:9, 12:18] = 2
    weak[10:12, 0:4] = 3
    return weak


def cues(*points: tuple[float, float, int]) -> PointCues:
    table = torch.tensor(points, dtype=torch.float32).reshape(-1, 3)
    return PointCues(table[:, :2], table[:, 2].long(), torch.ones(len(table)))


def test_component_with_one_cue_becomes_an_instance():
    targets = transfer_semantic_knowledge(scene(), cues((2, 2, 0)), TAGS, sigma=1, min_area=4)
    expected = torch.zeros(12, 20)
    expected[1:5, 1:5] = 1
    assert torch.equal(targets.weight, expected)
    # centroid (2.5, 2.5), cut to (2, 2)
    assert targets.offset[:, 1, 4].tolist() == [1, -2]
    assert targets.offset[:, 4, 1].tolist() == [-2, 1]
    assert targets.offset[:, 6, 12].tolist() == [0, 0]
    assert targets.center[0, 2, 2] == 1
    assert targets.center[1:].sum() == 0


@pytest.mark.parametrize(
    "points",
    [
        [],  # no cue
        [(2, 2, 0), (3, 3, 0)],  # two of its class
        [(2, 2, 1)],  # of another class
        [(0, 0, 0)],  # beside it
        [(11, 1, 2)],  # of a class that is not tagged
        [(-0.6, 1.2, 0)],  # left the crop
    ],
)
def test_other_components_get_no_guidance(points):
    targets = transfer_semantic_knowledge(scene(), cues(*points), TAGS, sigma=1, min_area=4)
    assert targets.weight.sum() == 0
    assert targets.center.sum() == 0
    assert targets.offset.abs().sum() == 0


def test_a_cue_lies_on_the_pixel_with_the_nearest_center():
    for y, inside in ((0.4, False), (0.5, True), (4.4, True), (4.5, False)):
        targets = transfer_semantic_knowledge(scene(), cues((y, 2, 0)), TAGS, min_area=4)
        assert (targets.weight.sum() == 16) == inside


def test_a_cue_of_another_class_in_the_component_does_not_count():
    targets = transfer_semantic_knowledge(
        scene(), cues((2, 2, 0), (3, 3, 1)), TAGS, sigma=1, min_area=4
    )
    assert targets.weight.sum() == 16


def test_components_below_the_minimum_area_are_dropped():
    both = cues((2, 2, 0), (7, 14, 1))
    assert transfer_semantic_knowledge(scene(), both, TAGS, min_area=17).weight.sum() == 18
    assert transfer_semantic_knowledge(scene(), both, TAGS, min_area=19).weight.sum() == 0


def test_exact_centroids_on_request():
    targets = transfer_semantic_knowledge(
        scene(), cues((2, 2, 0)), TAGS, sigma=1, min_area=4, whole_pixel_centers=False
    )
    assert targets.offset[:, 1, 4].tolist() == [1.5, -1.5]


def test_given_points_are_the_centers_but_offsets_lead_to_the_centroid():
    targets = transfer_semantic_knowledge(
        scene(),
        cues((1.7, 4.2, 0), (7, 13, 1), (7, 16, 1), (11, 1, 2)),
        TAGS,
        sigma=1,
        min_area=4,
        centers="cue",
    )
    assert torch.nonzero(targets.center == 1).tolist() == [[0, 2, 4], [1, 7, 13], [1, 7, 16]]
    assert targets.offset[:, 1, 1].tolist() == [1, 1]
    assert targets.weight.sum() == 16  # the bar holds two points


def test_inputs_stay_as_they_are():
    weak, points = scene(), cues((2, 2, 0))
    transfer_semantic_knowledge(weak, points, TAGS)
    assert torch.equal(weak, scene())
    assert points.yx.tolist() == [[2, 2]]


def test_components_with_several_cues_are_split_on_request():
    points = cues((2, 2, 0), (7, 13, 1), (6, 16, 1), (8, 13, 0))  # the last is of another class
    targets = transfer_semantic_knowledge(
        scene(), points, TAGS, sigma=1, min_area=4, split_weight=0.5
    )
    assert targets.weight[1:5, 1:5].tolist() == [[1.0] * 4] * 4
    # Centroids of columns 12 to 14 and 15 to 17 of the bar, in row 7; a tie goes to the first.
    assert targets.weight[6:9, 12:18].tolist() == [[0.5] * 6] * 3
    assert targets.offset[1, 7, 12:18].tolist() == [1, 0, -1, 1, 0, -1]
    assert targets.offset[0, 6:9, 12].tolist() == [1, 0, -1]
    assert torch.nonzero(targets.center == 1).tolist() == [[0, 2, 2], [1, 7, 13], [1, 7, 16]]
    assert targets.weight.sum() == 16 + 9


def test_parts_below_the_minimum_area_are_dropped():
    points = cues((7, 12, 1), (7, 14, 1))
    targets = transfer_semantic_knowledge(
        scene(), points, TAGS, sigma=1, min_area=7, split_weight=1.0
    )
    assert targets.weight[6:9, 12:18].tolist() == [[0, 0, 1, 1, 1, 1]] * 3


def test_cues_on_the_same_pixel_share_a_part():
    points = cues((7, 13, 1), (7.2, 13.4, 1))
    targets = transfer_semantic_knowledge(
        scene(), points, TAGS, sigma=1, min_area=4, split_weight=0.25
    )
    assert targets.weight[6:9, 12:18].tolist() == [[0.25] * 6] * 3
    assert targets.offset[1, 7, 12:18].tolist() == [2, 1, 0, -1, -2, -3]


@given(
    weak=arrays(np.uint8, (9, 11), elements=st.integers(0, 2)),
    points=st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 10), st.integers(0, 1))),
)
def test_split_pixels_belong_to_a_nearest_cue(weak, points):
    components, found = find_components(weak, [0, 1]), cues(*points)
    several = components.count_cues(found) > 1
    parts, split = split_at_cues(components, found)
    whole = components.masks()
    assert sorted(map(bytes, parts.masks()[~split])) == sorted(map(bytes, whole[~several]))
    assert (parts.masks()[split].sum(axis=0) == whole[several].sum(axis=0)).all()
    for mask, class_id in zip(parts.masks()[split], parts.classes[split], strict=True):
        component = next(w for w in whole if (w & mask).any())
        own = np.array([(y, x) for y, x, c in points if c == class_id and y in range(9)])
        own = np.unique(own[component[tuple(own.T)]], axis=0)
        distances = ((np.argwhere(mask)[:, None] - own) ** 2).sum(axis=2)
        (mine,) = np.flatnonzero(mask[tuple(own.T)])  # exactly one cue's pixel lies in the part
        assert (distances[:, mine] == distances.min(axis=1)).all()


def test_many_components_are_split():
    weak = np.zeros((40, 45), np.uint8)
    weak[::2, ::3] = weak[::2, 1::3] = 1  # 300 bars of two pixels
    pixels = np.argwhere(weak)
    found = cues(*((y, x, 0) for y, x in pixels.tolist()))
    parts, split = split_at_cues(find_components(weak, [0]), found)
    assert (len(parts), split.all(), parts.areas.max()) == (600, True, 1)
    assert parts.pixels.tolist() == (pixels @ (45, 1)).tolist()
