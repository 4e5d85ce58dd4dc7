"""Mask R-CNN's heads that weigh labels by their scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from bestie_d2.modeling.heads.weak_roi import label_weights

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIDE = 64


@pytest.fixture
def model_of(tiny_config):
    """Mask R-CNN with heads of this name; the same weights whatever its heads."""

    def build(heads: str) -> torch.nn.Module:
        config = (CONFIGS / "mrcnn_shapes.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")
        torch.manual_seed(1)
        weights = build_model(tiny_config(*config)).state_dict()
        model = build_model(tiny_config(*config, "MODEL.ROI_HEADS.NAME", heads))
        model.load_state_dict(weights)
        return model

    return build


def batch(*images: dict[tuple[int, int, int, int], float | None]) -> list[dict]:
    """Examples with a labeled object for each box (x0, y0, x1, y1), and its score."""
    examples = []
    for number, labels in enumerate(images):
        instances, masks = Instances((SIDE, SIDE)), torch.zeros(len(labels), SIDE, SIDE)
        for mask, (x0, y0, x1, y1) in zip(masks, labels, strict=True):
            mask[y0:y1, x0:x1] = 1
        instances.gt_boxes = Boxes(torch.tensor([*labels]).reshape(-1, 4).float())
        instances.gt_classes = torch.arange(len(labels))
        instances.gt_masks = BitMasks(masks.bool())
        if labels and None not in labels.values():
            instances.gt_scores = torch.tensor([*labels.values()])
        generator = torch.Generator().manual_seed(number)
        image = torch.randint(0, 255, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        examples.append({"image": image, "instances": instances})
    return examples


def losses(model: torch.nn.Module, examples: list[dict]) -> dict[str, float]:
    torch.manual_seed(2)  # proposals are drawn
    with EventStorage(0):
        return {name: value.item() for name, value in model.train()(examples).items()}


A, B = (4, 4, 28, 28), (34, 30, 60, 62)


def test_weights_are_in_the_proportion_of_the_scores():
    assert label_weights(torch.tensor([0.2, 0.6, 0.1])).tolist() == pytest.approx([2 / 3, 2, 1 / 3])
    assert label_weights(torch.zeros(2)).tolist() == [0, 0]
    assert len(label_weights(torch.zeros(0))) == 0


@pytest.mark.parametrize("scores", [(None, None), (0.25, 0.25), (1.0, 1.0)])
def test_labels_that_are_alike_give_the_losses_of_the_standard_heads(model_of, scores):
    examples = batch({A: scores[0], B: scores[1]}, {})
    found = losses(model_of("WeakROIHeads"), examples)
    assert found == pytest.approx(losses(model_of("StandardROIHeads"), examples), rel=1e-5)


def test_labels_without_a_score_worth_naming_teach_no_class_and_no_mask(model_of):
    model = model_of("WeakROIHeads")
    half = {A: 0.5, B: 0.0}
    of_half = losses(model, batch(half))
    examples = batch(half)
    examples[0]["instances"].gt_classes[1] = 3  # of what B is, nothing is learned
    examples[0]["instances"].gt_masks.tensor[1] = False
    examples[0]["instances"].gt_masks.tensor[1, 40:50, 40:50] = True
    other = losses(model, examples)
    for name in ("loss_cls", "loss_mask"):
        assert other[name] == pytest.approx(of_half[name], rel=1e-5)
    stock = model_of("StandardROIHeads")
    assert losses(stock, examples)["loss_mask"] != pytest.approx(
        losses(stock, batch(half))["loss_mask"]
    )


def test_a_mask_weighs_as_much_as_its_label(model_of):
    head = model_of("WeakROIHeads").roi_heads.mask_head.train()
    logits = torch.randn(3, 4, 28, 28, generator=torch.Generator().manual_seed(3))
    head.layers = lambda x: logits  # of two proposals on A and one on B
    found = [batch({box: score})[0]["instances"] for box, score in ((A, 0.9), (B, 0.3))]
    found = [found[0][[0, 0]], found[1]]
    for each in found:
        each.proposal_boxes = each.gt_boxes
    with EventStorage(0):
        loss = head(logits, found)["loss_mask"].item()
    # The masks fill their boxes. The mean score is 0.7.
    errors = torch.nn.functional.softplus(-logits[:, 0]).mean(dim=(1, 2))
    expected = (0.9 * errors[0] + 0.9 * errors[1] + 0.3 * errors[2]) / 0.7 / 3
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_prediction_is_that_of_the_standard_heads(model_of):
    image = batch({})[0]["image"]
    outputs = []
    for heads in ("WeakROIHeads", "StandardROIHeads"):
        with torch.no_grad():
            outputs.append(model_of(heads).eval()([{"image": image, "height": 64, "width": 64}]))
    ours, stock = (output[0]["instances"] for output in outputs)
    assert len(ours) == len(stock) > 0
    assert torch.equal(ours.scores, stock.scores)
    assert torch.equal(ours.pred_masks, stock.pred_masks)
