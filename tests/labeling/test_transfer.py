import pytest
import torch

from bestie_d2.labeling.transfer import transfer_semantic_knowledge
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
