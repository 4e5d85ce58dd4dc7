import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bestie_d2.labeling.decode import PixelValues, group_instances, share_foreground
from bestie_d2.labeling.grouping import CenterClustering, Foreground, find_centers
from bestie_d2.ops.components import find_components
from bestie_d2.structures import PointCues

HEIGHT, WIDTH = 12, 24


def maps(num_classes: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A 6x16 bar of class 0, sure to 0.9, with centers at (5, 6) and (5, 14) that its halves
    point at."""
    probability = torch.full((num_classes + 1, HEIGHT, WIDTH), 0.1 / num_classes)
    probability[0] = 0.9
    probability[:, 3:9, 2:18] = 0.1 / num_classes
    probability[1, 3:9, 2:18] = 0.9
    center = torch.zeros(num_classes, HEIGHT, WIDTH)
    center[0, 5, 6], center[0, 5, 14] = 0.8, 0.6
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    target = torch.where(columns < 10, 6, 14)
    offset = torch.stack([5 - rows, target - columns]).float()
    return probability, center, offset


def test_a_component_is_split_between_its_centers():
    masks, classes, scores = group_instances(*maps(), kernel=5, min_area=4, clustering=False)
    left, right = torch.zeros(HEIGHT, WIDTH, dtype=bool), torch.zeros(HEIGHT, WIDTH, dtype=bool)
    left[3:9, 2:10] = True
    right[3:9, 10:18] = True
    assert torch.equal(masks, torch.stack([left, right]))
    assert classes.tolist() == [0, 0]
    assert scores.tolist() == pytest.approx([0.8 * 0.9, 0.6 * 0.9])


def points(*given: tuple[float, float, int]) -> PointCues:
    table = torch.tensor(given, dtype=torch.float32).reshape(-1, 3)
    return PointCues(table[:, :2], table[:, 2].long(), torch.ones(len(table)))


def test_given_points_are_the_centers():
    given = points((5, 6, 0), (2.6, 15.7, 0), (5, 10, 1), (1, 1, 0), (-3, 6, 0), (5, 17.6, 0))
    masks, classes, scores = group_instances(*maps(), kernel=41, min_area=4, points=given)
    # The halves' offsets lead to columns 6 and 14, which is nearer to 16 than to 6.
    assert [mask.nonzero()[[0, -1]].tolist() for mask in masks] == [
        [[3, 2], [8, 9]],
        [[3, 10], [8, 17]],
    ]
    assert masks.flatten(1).sum(1).tolist() == [48, 48]
    assert classes.tolist() == [0, 0]
    assert scores.tolist() == pytest.approx([0.8 * 0.9, 0.6 * 0.9])


@pytest.mark.parametrize("given", [[], [(5, 6, 1)], [(1, 1, 0)]])
def test_what_holds_no_given_point_of_its_class_is_no_object(given):
    masks, classes, scores = group_instances(*maps(), kernel=5, min_area=4, points=points(*given))
    assert (masks.shape, len(classes), len(scores)) == ((0, HEIGHT, WIDTH), 0, 0)


def test_of_points_on_one_pixel_one_is_an_object():
    given = points((5, 6, 0), (5.2, 6.3, 0))
    masks, _, _ = group_instances(*maps(), kernel=5, min_area=4, points=given)
    assert masks.flatten(1).sum(1).tolist() == [96]


def test_maps_that_want_gradients_are_grouped_too():
    wanting = [tensor.clone().requires_grad_() for tensor in maps()]
    _, _, scores = group_instances(*wanting, kernel=5, min_area=4)
    assert len(scores) == 2
    assert not scores.requires_grad


def test_the_kernel_merges_close_centers():
    masks, _, _ = group_instances(*maps(), kernel=41, min_area=4, clustering=False)
    assert masks.sum().item() == 96
    assert len(masks) == 1


def test_a_center_without_votes_gives_no_instance():
    probability, center, _ = maps()
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    all_left = torch.stack([5 - rows, 6 - columns]).float()
    masks, _, scores = group_instances(
        probability, center, all_left, kernel=5, min_area=4, clustering=False
    )
    assert masks.flatten(1).sum(1).tolist() == [96]
    assert scores.tolist() == pytest.approx([0.8 * 0.9])


def test_a_component_without_a_center_is_one_instance_or_none():
    probability, center, offset = maps()
    faint = center * 0.1  # 0.08 at most
    arguments = {"kernel": 5, "min_area": 4, "clustering": False}
    masks, _, scores = group_instances(probability, faint, offset, **arguments)
    assert masks.sum().item() == 96
    assert scores.tolist() == pytest.approx([0.08 * 0.9])
    masks, classes, scores = group_instances(
        probability, faint, offset, keep_centerless=False, **arguments
    )
    assert (masks.shape, classes.shape, scores.shape) == ((0, HEIGHT, WIDTH), (0,), (0,))


def test_a_center_value_above_one_counts_as_the_class_probability():
    probability, center, offset = maps()
    _, _, scores = group_instances(
        probability, center * 2, offset, kernel=5, min_area=4, clustering=False
    )
    assert scores.tolist() == pytest.approx([0.9 * 0.9, 0.9 * 0.9])


def test_centers_of_another_class_gather_nothing():
    probability, center, offset = maps()
    masks, _, _ = group_instances(
        probability, center.flip(0), offset, kernel=5, min_area=4, clustering=False
    )
    assert masks.flatten(1).sum(1).tolist() == [96]


def test_small_components_are_dropped():
    assert len(group_instances(*maps(), kernel=5, min_area=97)[0]) == 0


def test_a_peak_on_the_first_row_and_column_counts():
    probability = torch.zeros(2, 8, 8)
    probability[1] = 1.0
    center = torch.zeros(1, 8, 8)
    center[0, 0, 0] = 0.5
    masks, _, scores = group_instances(probability, center, torch.zeros(2, 8, 8), min_area=4)
    assert masks.sum().item() == 64
    assert scores.tolist() == pytest.approx([0.5])


def clustered_scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One 20x20 object whose center (15, 20) only the offsets show: 21 pixels shorter than 2.5."""
    probability = torch.zeros(2, 30, 40)
    probability[0] = 1.0
    probability[:, 5:25, 10:30] = torch.tensor([0.2, 0.8])[:, None, None]
    rows, columns = torch.meshgrid(torch.arange(30), torch.arange(40), indexing="ij")
    offset = torch.stack([15 - rows, 20 - columns]).float()
    center = torch.full((1, 30, 40), 0.07)
    return probability, center, offset


def test_center_clustering_finds_what_the_center_map_misses():
    probability, center, offset = clustered_scene()
    masks, _, scores = group_instances(probability, center, offset, keep_centerless=False)
    assert masks.sum().item() == 400
    assert scores.tolist() == pytest.approx([0.8 * 0.8])
    assert len(group_instances(probability, center, offset, clustering=False,
                               keep_centerless=False)[0]) == 0  # fmt: skip


@pytest.mark.parametrize(
    "recipe",
    [
        CenterClustering(area=25),  # 21 is not closer than 3 to 25
        CenterClustering(magnitude=1.5),  # 9 pixels
        CenterClustering(min_center=0.08),
    ],
)
def test_center_clustering_is_strict(recipe):
    probability, center, offset = clustered_scene()
    masks, _, _ = group_instances(
        probability, center, offset, clustering=recipe, keep_centerless=False
    )
    assert len(masks) == 0


@pytest.mark.parametrize(("distance", "instances"), [(4.0, 2), (6.0, 1)])
def test_a_clustered_center_keeps_its_distance_to_peaks(distance, instances):
    probability, center, offset = clustered_scene()
    center[0, 15, 15] = 0.5  # five pixels beside the clustered center
    offset[1, :, :16] = (15 - torch.arange(40)[None, :16]).float()
    recipe = CenterClustering(area=16, area_tolerance=10, min_distance=distance)
    masks, _, _ = group_instances(probability, center, offset, clustering=recipe)
    assert len(masks) == instances


def test_memory_of_thousands_of_components_is_not_that_of_their_pairs():
    many, side, pitch = 60, 7, 8  # components of 7x7 pixels, a row or column without any between
    index_map = np.zeros((many * pitch, many * pitch), np.uint8)
    rows, columns = np.divmod(np.arange(index_map.size), many * pitch)
    index_map[(rows % pitch < side).reshape(index_map.shape)] = 1
    index_map[:, side::pitch] = 0
    foreground = Foreground([find_components(index_map, range(1))], "cpu")
    middle = side // 2
    offset = [middle - torch.from_numpy(at % pitch)[foreground.pixels] for at in (rows, columns)]
    with_peak = (torch.from_numpy(columns // pitch) % 2 == 1)[foreground.pixels]  # every other one
    at_middle = (offset[0] == 0) & (offset[1] == 0)
    center = torch.where(at_middle & with_peak, 0.5, 0.07)
    tracemalloc.start()
    centers = find_centers(foreground, center, offset, threshold=0.1, kernel=3, clustering=True)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(centers.owners) == many**2  # a peak is near to clusters of its component alone
    assert centers.clustered.tolist() == [column % 2 == 0 for column in range(many)] * many
    assert memory < 20e6  # comparing all pairs took 415 MB


def plain_grouping(probability, center, offset, kernel):
    """The same, written over full maps with max-pooling and a table of all distances."""
    semantic = probability.argmax(0)
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in semantic.shape), indexing="ij")
    found = []
    for class_id in range(len(center)):
        labels, count = ndimage.label((semantic == class_id + 1).numpy(), structure=[[1] * 3] * 3)
        for index in range(1, count + 1):
            region = torch.from_numpy(labels == index)
            heat = center[class_id] * region
            pooled = torch.nn.functional.max_pool2d(heat[None], kernel, 1, kernel // 2)[0]
            plateaus, number = ndimage.label(
                ((heat == pooled) & (heat > 0.1)).numpy(), structure=[[1] * 3] * 3
            )
            first = [(plateaus == k).nonzero() for k in range(1, number + 1)]
            peaks = torch.tensor([[rows[0], columns[0]] for rows, columns in first]).reshape(-1, 2)
            if len(peaks) == 0:
                found.append((class_id, region))
                continue
            votes = torch.stack([rows, columns]) + offset
            distance = (votes[None] - peaks[:, :, None, None]).pow(2).sum(1)
            nearest = distance.argmin(0)
            for k in range(len(peaks)):
                mask = region & (nearest == k)
                if mask.any():
                    found.append((class_id, mask))
    return sorted((c, m.nonzero().tolist()) for c, m in found)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_grouping_equals_a_plain_reference_on_random_scenes(seed):
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 4, 5, generator=random)
    probability = torch.nn.functional.interpolate(coarse, (20, 27), mode="bilinear")[0].softmax(0)
    center = (torch.rand(2, 20, 27, generator=random) * 12).floor() / 12
    offset = torch.randn(2, 20, 27, generator=random) * 4
    masks, classes, _ = group_instances(
        probability, center, offset, kernel=7, min_area=1, clustering=False
    )
    ours = sorted((c, m.nonzero().tolist()) for c, m in zip(classes.tolist(), masks, strict=True))
    assert ours == plain_grouping(probability, center, offset, 7)


@pytest.mark.parametrize("at_once", [1, 100, 2**18])
def test_crops_are_those_of_the_whole_masks(at_once, monkeypatch):
    monkeypatch.setattr("bestie_d2.labeling.decode.PIXELS_AT_ONCE", at_once)
    random = torch.Generator().manual_seed(at_once)
    coarse = torch.randn(1, 4, 12, 15, generator=random)
    size = (60, 81)
    probability = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0].softmax(0)
    center = (torch.rand(3, *size, generator=random) * 12).floor() / 12
    offset = torch.randn(2, *size, generator=random) * 4
    options = {"kernel": 7, "min_area": 30, "clustering": True}
    masks, classes, scores = group_instances(probability, center, offset, **options)
    found = PixelValues.of_maps(probability, center, offset).objects(
        3, torch.device("cpu"), center_threshold=0.1, keep_centerless=True, **options
    )
    assert len(found) == len(masks) > 9
    for got, mask, class_id, score in zip(found, masks, classes, scores, strict=True):
        assert (got.class_id, got.score) == (int(class_id), float(score))
        assert torch.equal(torch.from_numpy(got.mask), mask[got.window])
        assert got.mask.sum() == mask.sum()


def test_the_foreground_is_shared_among_the_classes_that_can_be():
    background, cat, cow, dog = 0.4, 0.3, 0.1, 0.2
    pixel = torch.tensor([background, cat, cow, dog]).reshape(4, 1, 1)
    shared = share_foreground(pixel, [0, 2, 3]).flatten()
    torch.testing.assert_close(shared, torch.tensor([0.4, 0.0, 0.2, 0.4]))  # 1 : 2
    torch.testing.assert_close(pixel.flatten()[1].item(), cat, rtol=0, atol=1e-7)  # as it was
    assert share_foreground(pixel, [0]).flatten().tolist() == pytest.approx([0.4, 0, 0, 0])
    nothing = torch.tensor([0.0, 1.0, 0.0, 0.0]).reshape(4, 1, 1)
    assert torch.isfinite(share_foreground(nothing, [0, 2])).all()
