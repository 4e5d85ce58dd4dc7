from __future__ import annotations

import math

import pytest
import torch

from bestie_d2.modeling.wsss_losses import (
    balanced_cross_entropy,
    class_scores,
    pseudo_masks,
    tag_loss,
    with_background,
)


def test_the_background_is_a_constant_logit_of_one():
    logits = torch.tensor([[[[5.0, -2.0]], [[0.0, 3.0]]]])
    expected = torch.tensor([[[[1.0, 1.0]], [[5.0, -2.0]], [[0.0, 3.0]]]])
    assert torch.equal(with_background(logits), expected)


def test_class_scores_by_hand():
    logits = torch.tensor([[[[4.0, 2.0], [0.0, 0.0]], [[3.0, 3.0], [3.0, 3.0]]]])
    masks = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    scores = class_scores(logits, masks)
    # first: (4 + 2) / 2 over 1 + 1, and a quarter of the map is covered
    first = 3 / 2 + 0.75**3 * math.log(0.01 + 0.25)
    second = 0 + math.log(0.01)
    assert scores.tolist() == [pytest.approx([first, second])]
    plain = class_scores(logits, masks, focal_power=1, focal_offset=0.5)
    assert plain[0, 0].item() == pytest.approx(1.5 + 0.75 * math.log(0.75))


def test_tag_loss_by_hand():
    loss = tag_loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[True, False]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2)


def test_pseudo_masks_keep_the_confident_pixels_of_tagged_classes():
    masks = torch.tensor(
        [
            [
                [[0.9, 0.62, 0.64, 0.1, 0.5]],  # background: above 0.63
                [[0.1, 0.3, 0.0, 0.5, 0.31]],  # class 0: above 0.3
                [[0.0, 0.08, 0.36, 0.4, 0.19]],  # class 1: not tagged
            ]
        ]
    )
    labels = pseudo_masks(masks, torch.tensor([[True, False]]))
    assert labels.tolist() == [[[0, 255, 0, 1, 1]]]
    # with both tagged: two claims on pixels 2 and 3
    labels = pseudo_masks(masks, torch.tensor([[True, True]]))
    assert labels.tolist() == [[[0, 255, 255, 255, 1]]]


def test_a_faint_class_gets_no_pixel():
    masks = torch.tensor([[[[0.9, 0.8]], [[0.1, 0.2]]]])  # 0.2 is not above 0.2
    tags = torch.tensor([[True]])
    assert pseudo_masks(masks, tags).tolist() == [[[0, 0]]]
    assert pseudo_masks(masks, tags, min_confidence=0.15).tolist() == [[[0, 255]]]


def test_balanced_cross_entropy_by_hand():
    logits = torch.zeros(1, 2, 1, 5)
    logits[0, 1, 0, 3] = math.log(3)  # one quarter background, three quarters class 0
    labels = torch.tensor([[[0, 0, 0, 1, 255]]])
    loss = balanced_cross_entropy(logits, labels, torch.tensor([[True]]))
    background, foreground = 0.25 * math.log(2), 0.75 * math.log(4 / 3)
    assert loss.item() == pytest.approx((3 * background + foreground) / 5)


def test_only_images_whose_tags_all_appear_count():
    logits = torch.randn(2, 3, 2, 2)
    labels = torch.tensor([[[0, 1], [2, 255]], [[0, 1], [0, 255]]])
    tags = torch.ones(2, 2, dtype=torch.bool)
    both = balanced_cross_entropy(logits, labels, tags)
    first = balanced_cross_entropy(logits[:1], labels[:1], tags[:1])
    assert both.item() == pytest.approx(first.item())


def test_without_a_usable_image_the_loss_is_zero_with_a_gradient():
    logits = torch.randn(2, 3, 2, 2, requires_grad=True)
    labels = torch.tensor([[[255, 255], [255, 255]], [[0, 0], [1, 1]]])
    loss = balanced_cross_entropy(logits, labels, torch.ones(2, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_background_alone_suffices_for_an_image_without_tags():
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    loss = balanced_cross_entropy(torch.zeros(1, 2, 2, 2), labels, torch.tensor([[False]]))
    assert loss.item() == 0  # all of one label: its weight is 1 - 1
