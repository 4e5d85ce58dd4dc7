import numpy as np
import torch

from bestie_d2.evaluation.label_quality import instances_of_targets
from bestie_d2.labeling.targets import draw_targets
from bestie_d2.labeling.transfer import Transfer, transfer_semantic_knowledge
from bestie_d2.ops.components import regions_of_map
from bestie_d2.structures import InstanceTargets, PointCues

TAGS = torch.tensor([True, True])


def weak_map() -> torch.Tensor:
    """A 4x4 square of class 0 and a 3x6 bar of class 1."""
    weak = torch.zeros(12, 20, dtype=torch.uint8)
    weak[1:5, 1:5] = 1
    weak[6:9, 12:18] = 2
    return weak


def test_transferred_instances_come_back():
    cues = PointCues(torch.tensor([[2.0, 2.0], [7.0, 14.0]]), torch.tensor([0, 1]), torch.ones(2))
    targets = transfer_semantic_knowledge(weak_map(), cues, TAGS, min_area=4)
    masks, classes, weights = instances_of_targets(targets, weak_map())
    assert classes.tolist() == [0, 1]
    assert weights.tolist() == [1, 1]
    assert torch.equal(masks, torch.stack([weak_map() == 1, weak_map() == 2]))


def test_pixels_belong_to_the_center_that_their_offsets_lead_to():
    weight, offset = torch.zeros(1, 6), torch.zeros(2, 1, 6)
    weight[0] = torch.tensor([0.2, 0.4, 0.3, 0.5, 0.5, 0.0])
    offset[1, 0] = torch.tensor([1.0, 0.0, -1.4, 1.0, 0.0, -1.0])  # to columns 1, 1, 0.6, 4, 4
    weak = torch.tensor([[1, 1, 0, 2, 255, 2]])
    masks, classes, weights = instances_of_targets(InstanceTargets(None, offset, weight), weak)
    assert masks.int().tolist() == [[[1, 1, 1, 0, 0, 0]], [[0, 0, 0, 1, 1, 0]]]
    assert classes.tolist() == [0, 1]
    assert weights.tolist() == torch.tensor([0.4, 0.5]).tolist()


def test_centers_outside_of_the_map_are_pulled_to_its_edge():
    weight, offset = torch.zeros(4, 3), torch.zeros(2, 4, 3)
    weight[:2, 1] = weight[2:, 1] = 1
    offset[0, :, 1] = torch.tensor([0.0, -3.0, 2.0, 0.0])  # to rows 0, -2, 4, 3
    weak = torch.tensor([[0, 1, 0], [0, 1, 0], [0, 2, 0], [0, 2, 0]])
    masks, classes, _ = instances_of_targets(InstanceTargets(None, offset, weight), weak)
    assert torch.equal(masks, torch.stack([weak == 1, weak == 2]))
    assert classes.tolist() == [0, 1]
    weight, offset, weak = weight.T, offset.transpose(1, 2).flip(0), weak.T  # the same for columns
    masks, _, _ = instances_of_targets(InstanceTargets(None, offset, weight), weak)
    assert torch.equal(masks, torch.stack([weak == 1, weak == 2]))


def test_what_has_no_class_is_left_out():
    weight, offset = torch.ones(1, 3), torch.zeros(2, 1, 3)
    weak = torch.tensor([[0, 255, 1]])
    masks, classes, _ = instances_of_targets(InstanceTargets(None, offset, weight), weak)
    assert masks.int().tolist() == [[[0, 0, 1]]]
    assert classes.tolist() == [0]


def test_no_guidance_is_no_instance():
    nothing = InstanceTargets(None, torch.zeros(2, 12, 20), torch.zeros(12, 20))
    masks, classes, weights = instances_of_targets(nothing, weak_map())
    assert masks.shape == (0, 12, 20)
    assert len(classes) == len(weights) == 0


def test_labeled_instances_become_targets():
    numbers = np.zeros((6, 8), dtype=np.uint8)
    numbers[1:4, 1:4] = 1  # nine pixels around (2, 2)
    numbers[1:4, 4:6] = 3  # touches it: centroid (2, 4.5)
    numbers[5, 7] = 2  # too small
    numbers[0] = 255  # padding
    regions = regions_of_map(numbers, [0, 0, 1])
    labels = Transfer(sigma=1, min_area=4).label(regions)
    targets = draw_targets([labels], num_classes=2)[0]
    assert targets.weight.tolist() == ((numbers == 1) | (numbers == 3)).tolist()
    assert targets.offset[:, 1, 3].tolist() == [1, -1]
    assert targets.offset[:, 3, 5].tolist() == [-1, -1]  # to (2, 4), the whole pixel
    assert [(targets.center[c] == 1).nonzero().tolist() for c in (0, 1)] == [[[2, 2]], [[2, 4]]]
    labels = Transfer(sigma=1, min_area=4, whole_pixel_centers=False).label(regions)
    exact = draw_targets([labels], num_classes=2)
    assert exact.offset[0, :, 3, 5].tolist() == [-1, -0.5]
