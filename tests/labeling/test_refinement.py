import pytest
import torch

from bestie_d2.labeling.refinement import refine_labels, refine_labels_from_points
from bestie_d2.structures import PointCues

TAGS = torch.tensor([[True, False]])


def batch():
    """One image: a 6x16 bar of class 0 in the weak map; peaks .8 at (5, 6) and .5 at (5, 14)."""
    weak = torch.zeros(1, 12, 24, dtype=torch.uint8)
    weak[0, 3:9, 2:18] = 1
    logits = torch.zeros(1, 3, 12, 24)
    logits[0, 1, 3:9, 2:18] = torch.log(torch.tensor(2.0))  # probability 2 / 4
    center = torch.zeros(1, 2, 12, 24)
    center[0, 0, 5, 6], center[0, 0, 5, 14] = 0.8, 0.5
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(24), indexing="ij")
    offset = torch.stack([5 - rows, torch.where(columns < 10, 6, 14) - columns]).float()[None]
    return logits, center, offset, weak


ARGUMENTS = {"kernel": 5, "min_area": 4, "clustering": False, "sigma": 1}


def test_refined_targets_follow_the_networks_own_instances():
    logits, center, offset, weak = batch()
    targets = refine_labels(logits, center, offset, weak, TAGS, **ARGUMENTS)
    assert targets.weight[0, 4, [2, 9, 10, 17, 18]].tolist() == pytest.approx(
        [0.4, 0.4, 0.25, 0.25, 0.0]
    )
    assert targets.offset[0, :, 3, 2].tolist() == [2, 4]
    assert targets.offset[0, :, 8, 17].tolist() == [-3, -3]
    assert torch.nonzero(targets.center == 1).tolist() == [[0, 0, 5, 6], [0, 0, 5, 14]]
    assert targets.center[0, 1].sum() == 0


def test_the_papers_weight_is_the_center_score_alone():
    targets = refine_labels(*batch(), TAGS, weighting="center", **ARGUMENTS)
    assert targets.weight[0, 4, [2, 17]].tolist() == pytest.approx([0.8, 0.5])


def test_the_papers_weight_of_an_instance_without_a_peak_is_its_centers_score():
    logits, center, offset, weak = batch()
    offset[0, 1, 5, 14] = 6 - 14  # the peak's own pixel votes for the other center
    targets = refine_labels(logits, center, offset, weak, TAGS, weighting="center", **ARGUMENTS)
    assert targets.weight[0, 4, 17].item() == pytest.approx(0.5)
    assert targets.weight[0, 4, 2].item() == pytest.approx(0.8)


def test_weights_stay_below_one():
    logits, center, offset, weak = batch()
    targets = refine_labels(logits, center * 9, offset, weak, TAGS, **ARGUMENTS)
    assert targets.weight.max() == 1


def test_components_without_center_and_untagged_classes_get_no_guidance():
    logits, center, offset, weak = batch()
    for changed in (
        refine_labels(logits, center * 0.1, offset, weak, TAGS, **ARGUMENTS),
        refine_labels(logits, center, offset, weak, ~TAGS, **ARGUMENTS),
        refine_labels(logits, center, offset, weak * 0, TAGS, **ARGUMENTS),
    ):
        assert changed.weight.sum() == 0
        assert changed.center.sum() == 0


def test_components_with_too_many_instances_are_left_out():
    assert refine_labels(*batch(), TAGS, max_instances=1, **ARGUMENTS).weight.sum() == 0


def test_an_instance_that_lost_its_peak_takes_its_own_center_and_the_class_probability():
    logits, center, offset, weak = batch()
    offset[0, 1, 5, 14] = 6 - 14  # the peak's own pixel votes for the other center
    targets = refine_labels(logits, center, offset, weak, TAGS, **ARGUMENTS)
    assert targets.weight[0, 4, 17].item() == pytest.approx(0.5)
    assert targets.offset[0, :, 4, 17].tolist() == [1, -3]


def test_every_image_of_a_batch_is_refined_by_itself():
    logits, center, offset, weak = (torch.cat([t, t * 0]) for t in batch())
    both = refine_labels(logits, center, offset, weak, TAGS.repeat(2, 1), **ARGUMENTS)
    alone = refine_labels(*batch(), TAGS, **ARGUMENTS)
    assert torch.equal(both.weight[:1], alone.weight)
    assert torch.equal(both.center[:1], alone.center)
    assert both.weight[1].sum() == 0


def test_no_gradient_flows_through_refined_targets():
    logits, center, offset, weak = batch()
    targets = refine_labels(logits.requires_grad_(), center, offset, weak, TAGS, **ARGUMENTS)
    assert not targets.weight.requires_grad


def test_given_points_gather_the_weak_foreground_of_their_class():
    _, _, offset, weak = batch()
    points = PointCues(
        torch.tensor([[5.0, 6.0], [4.0, 15.0], [0.0, 0.0]]), torch.tensor([0, 0, 1]), torch.ones(3)
    )
    targets = refine_labels_from_points(offset, weak, [points], TAGS)
    assert targets.center is None
    assert targets.weight.sum() == 96
    assert targets.offset[0, :, 3, 9].tolist() == [2, -3]
    assert targets.offset[0, :, 3, 10].tolist() == [1, 5]


def test_a_point_on_the_first_row_and_column_counts():
    weak = torch.ones(1, 4, 4, dtype=torch.uint8)
    points = PointCues(torch.zeros(1, 2), torch.tensor([0]), torch.ones(1))
    targets = refine_labels_from_points(torch.zeros(1, 2, 4, 4), weak, [points], TAGS)
    assert targets.weight.sum() == 16


def test_without_points_nothing_is_guided():
    _, _, offset, weak = batch()
    targets = refine_labels_from_points(offset, weak, [PointCues.empty()], TAGS)
    assert targets.weight.sum() == 0
