from __future__ import annotations

import numpy as np
import torch

from bestie_d2.ops.mask_refinement import neighbour_affinity, refine_masks


def slow_refine(image, masks, dilations, iterations):
    """The definition, pixel by pixel, in float64."""
    _, height, width = image.shape

    def neighbours(y, x):
        for dilation in dilations:
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if dy or dx:
                        row = min(max(y + dy * dilation, 0), height - 1)
                        yield row, min(max(x + dx * dilation, 0), width - 1)

    for _ in range(iterations):
        refined = np.zeros_like(masks)
        for y in range(height):
            for x in range(width):
                around = list(neighbours(y, x))
                colors = np.array([image[:, row, column] for row, column in around])
                unit = 0.1 * colors.std(axis=0) + 1e-8
                affinity = np.exp(-(np.abs(colors - image[:, y, x]) / unit).mean(axis=1))
                affinity /= affinity.sum()
                for weight, (row, column) in zip(affinity, around, strict=True):
                    refined[:, y, x] += weight * masks[:, row, column]
        masks = refined
    return masks


def test_agrees_with_the_definition():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 9, 7, generator=generator, dtype=torch.float64)
    masks = torch.rand(2, 4, 9, 7, generator=generator, dtype=torch.float64)
    refined = refine_masks(image, masks, dilations=(1, 2, 4), iterations=3)
    for index in range(2):
        expected = slow_refine(image[index].numpy(), masks[index].numpy(), (1, 2, 4), 3)
        np.testing.assert_allclose(refined[index].numpy(), expected, rtol=1e-9)


def test_a_flat_image_gives_the_mean_of_the_neighbours():
    masks = torch.zeros(1, 1, 5, 5)
    masks[0, 0, 2, 2] = 8.0
    refined = refine_masks(torch.full((1, 3, 5, 5), 7.0), masks, dilations=(1,), iterations=1)
    expected = torch.zeros(5, 5)
    expected[1:4, 1:4] = 1.0
    expected[2, 2] = 0.0  # a pixel is not its own neighbour
    torch.testing.assert_close(refined[0, 0], expected)


def test_masks_stop_at_an_edge():
    image = torch.zeros(1, 3, 6, 8)
    image[..., 4:] = 1.0
    masks = torch.zeros(1, 1, 6, 8)
    masks[0, 0, 2, 1] = 1.0
    refined = refine_masks(image, masks, dilations=(1, 2), iterations=20)[0, 0]
    assert (refined[:, :4] > 0.005).all()
    assert (refined[:, 4:] < 1e-4).all()


def test_affinities_sum_to_one():
    affinity = neighbour_affinity(torch.rand(2, 3, 30, 20))
    assert affinity.shape == (2, 48, 30, 20)
    torch.testing.assert_close(affinity.sum(dim=1), torch.ones(2, 30, 20))


def test_probabilities_stay_probabilities():
    masks = torch.randn(2, 5, 12, 10).softmax(dim=1)
    refined = refine_masks(torch.rand(2, 3, 12, 10), masks, iterations=4)
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(2, 12, 10))


def test_the_scale_of_the_image_does_not_matter():
    image, masks = torch.rand(1, 3, 10, 10), torch.rand(1, 2, 10, 10)
    torch.testing.assert_close(
        refine_masks(image, masks, iterations=2),
        refine_masks(255 * image - 30, masks, iterations=2),
        rtol=1e-3,
        atol=1e-4,
    )


def test_changes_no_input_and_carries_no_gradient():
    image, masks = torch.rand(1, 3, 6, 6), torch.rand(1, 2, 6, 6, requires_grad=True)
    before = masks.detach().clone()
    refined = refine_masks(image, masks, dilations=(1,), iterations=2)
    assert not refined.requires_grad
    assert torch.equal(masks, before)
