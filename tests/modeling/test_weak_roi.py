"""Mask R-CNN's heads that weigh labels by their scores, and the mask head that scores masks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from bestie_d2.errors import InputError
from bestie_d2.modeling.heads import weak_roi
from bestie_d2.modeling.heads.weak_mask import mask_certainty
from bestie_d2.modeling.heads.weak_roi import mean_score

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIDE = 64


@pytest.fixture
def model_of(tiny_config):
    """Mask R-CNN with heads of this name; the same weights whatever its heads."""

    def build(heads: str, *keys: str) -> torch.nn.Module:
        config = (CONFIGS / "mrcnn_shapes.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")
        torch.manual_seed(1)
        weights = build_model(tiny_config(*config)).state_dict()
        model = build_model(tiny_config(*config, "MODEL.ROI_HEADS.NAME", heads, *keys))
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


def predicted(model: torch.nn.Module) -> Instances:
    image = batch({})[0]["image"]
    with torch.no_grad():
        return model.eval().inference([{"image": image}], do_postprocess=False)[0]


def losses(model: torch.nn.Module, examples: list[dict]) -> dict[str, float]:
    torch.manual_seed(2)  # proposals are drawn
    with EventStorage(0):
        return {name: value.item() for name, value in model.train()(examples).items()}


A, B = (4, 4, 28, 28), (34, 30, 60, 62)


def test_the_mean_is_that_of_all_processes(monkeypatch):
    assert mean_score(torch.tensor([0.2, 0.6, 0.1])).item() == pytest.approx(0.3)
    assert 0 < mean_score(torch.zeros(2)).item() < 1e-30
    assert 0 < mean_score(torch.zeros(0)).item() < 1e-30
    others = torch.tensor([2.7, 3.0])  # the sum and number of another process's scores
    monkeypatch.setattr(weak_roi.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(weak_roi.distributed, "all_reduce", lambda total: total.add_(others))
    assert mean_score(torch.tensor([0.2, 0.6, 0.1])).item() == pytest.approx(0.6)
    assert mean_score(torch.zeros(0)).item() == pytest.approx(0.9)  # one that has no label asks too


@pytest.mark.parametrize("scores", [(None, None), (0.25, 0.25), (1.0, None)])
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


def test_proposals_get_the_weight_of_their_labels(model_of):
    """Two of A (score .9), one of B (.3) and one on nothing; the mean score of objects is .7."""
    heads = model_of("WeakROIHeads").roi_heads
    targets = [example["instances"] for example in batch({A: 0.9, B: 0.3}, {})]
    boxes = torch.tensor([[*A], [*A], [*B], [0, 40, 20, 60]]).float()
    proposals = [Instances((SIDE, SIDE), proposal_boxes=Boxes(b)) for b in (boxes, boxes[:1])]
    for each in proposals:
        each.objectness_logits = torch.zeros(len(each))
    heads.proposal_append_gt = False
    with EventStorage(0):
        first, second = heads.label_and_sample_proposals(proposals, targets)
    found = sorted(zip(first.gt_classes.tolist(), first.gt_weights.tolist(), strict=True))
    weights = [(0, 0.9 / 0.7), (0, 0.9 / 0.7), (1, 0.3 / 0.7), (4, 1.0)]
    assert found == [(class_id, pytest.approx(weight)) for class_id, weight in weights]
    assert second.gt_weights.tolist() == [1]


@pytest.fixture
def weighted():
    """Instances of two images with two proposals on A and one on B, that weigh 1.5, 1.5 and .5; all
    are of class 2."""
    found = [batch({box: 1.0})[0]["instances"] for box in (A, B)]
    found = [found[0][[0, 0]], found[1]]
    for each, weight in zip(found, (1.5, 0.5), strict=True):
        each.gt_weights = torch.full((len(each),), weight)
        each.gt_classes = torch.full((len(each),), 2)
        each.proposal_boxes = each.gt_boxes
    return found


@pytest.mark.parametrize("channels", [4, 1])
def test_a_mask_weighs_as_much_as_its_label(model_of, weighted, channels):
    head = model_of("WeakROIHeads").roi_heads.mask_head.train()
    logits = torch.randn(3, channels, 28, 28, generator=torch.Generator().manual_seed(3))
    head.layers, head.loss_weight = lambda x: logits, 3.0
    with EventStorage(0) as storage:
        loss = head(logits, weighted)["loss_mask"].item()
    of_class = logits[:, min(2, channels - 1)]
    errors = torch.nn.functional.softplus(-of_class).mean(dim=(1, 2))  # masks fill their boxes
    expected = (1.5 * errors[0] + 1.5 * errors[1] + 0.5 * errors[2]) / 3
    assert loss == pytest.approx(3.0 * expected.item(), rel=1e-5)
    assert 0 < storage.latest()["mask_rcnn/accuracy"][0] < 1


def test_a_class_weighs_as_much_as_its_label(model_of, weighted):
    layers = model_of("WeakROIHeads").roi_heads.box_predictor
    layers.loss_weight = {"loss_cls": 2.0}
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(3))
    with EventStorage(0):
        loss = layers.losses((logits, torch.zeros(3, 16)), weighted)["loss_cls"].item()
    errors = torch.logsumexp(logits, dim=1) - logits[:, 2]
    expected = (1.5 * errors[0] + 1.5 * errors[1] + 0.5 * errors[2]) / 3
    assert loss == pytest.approx(2.0 * expected.item(), rel=1e-5)


def test_no_object_at_all_is_no_mask_to_learn(model_of):
    model = model_of("WeakROIHeads")
    found = losses(model, batch({}, {}))
    assert found["loss_mask"] == 0
    assert found["loss_cls"] > 0
    model.roi_heads.batch_size_per_image = 3  # a quarter of them may be on objects: none
    assert losses(model, batch({A: 0.9, B: 0.3}))["loss_mask"] == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("ROI_MASK_HEAD.NAME", "PointRendMaskHead"), ("ROI_BOX_HEAD.USE_SIGMOID_CE", True)],
)
def test_what_it_does_not_go_with_is_refused(tiny_config, key, value):
    cfg = tiny_config(CONFIGS / "mrcnn_shapes.yaml", "MODEL.ROI_HEADS.NAME", "WeakROIHeads")
    cfg.defrost()
    node, name = key.split(".")
    cfg.MODEL[node][name] = value
    with pytest.raises(InputError, match=f"MODEL.{key}.*WeakROIHeads"):
        build_model(cfg)


def test_prediction_is_that_of_the_standard_heads(model_of):
    ours, stock = predicted(model_of("WeakROIHeads")), predicted(model_of("StandardROIHeads"))
    assert len(ours) == len(stock) > 0
    assert torch.equal(ours.scores, stock.scores)
    assert torch.equal(ours.pred_masks, stock.pred_masks)


SCORED = ("MODEL.ROI_MASK_HEAD.NAME", "ScoredMaskHead")


def test_the_certainty_of_a_mask_is_the_mean_over_its_pixels():
    masks = [[[0.9, 0.7], [0.2, 0.5]], [[0.6, 0.6], [0.6, 0.6]], [[0.1, 0.3], [0.4, 0.0]]]
    assert mask_certainty(torch.tensor(masks)[:, None]).tolist() == pytest.approx([0.7, 0.6, 0.0])
    assert mask_certainty(torch.zeros(0, 1, 28, 28)).shape == (0,)
    half = torch.full((1, 1, 28, 28), 0.75, dtype=torch.bfloat16)
    half[:, :, 0, 0] = 0.5
    exact = (0.75 * (28 * 28 - 1) + 0.5) / (28 * 28)  # in bfloat16 it would be .75
    assert mask_certainty(half).item() == pytest.approx(exact, rel=1e-6)


def test_its_own_mask_head_may_be_named(model_of):
    model = model_of("WeakROIHeads", "MODEL.ROI_MASK_HEAD.NAME", "WeakMaskHead")
    assert type(model.roi_heads.mask_head) is type(model_of("WeakROIHeads").roi_heads.mask_head)


@pytest.mark.parametrize("heads", ["StandardROIHeads", "WeakROIHeads"])
def test_scores_of_masks_change_scores_and_nothing_else(model_of, heads):
    scored, stock = model_of(heads, *SCORED), model_of(heads)
    for model in (scored, stock):
        weights = model.roi_heads.mask_head.predictor.weight  # a new one's masks are all at .5
        torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(4))
    ours, theirs = predicted(scored), predicted(stock)
    assert len(ours) > 1
    assert torch.equal(ours.pred_masks, theirs.pred_masks)
    assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
    for score, mask, stock_score in zip(ours.scores, ours.pred_masks, theirs.scores, strict=True):
        certainty = mask[mask >= 0.5].mean()
        assert 0.5 < certainty < 1
        assert score.item() == pytest.approx((stock_score * certainty).item(), rel=1e-5)
    examples = batch({A: 0.9, B: 0.3})
    assert losses(scored, examples) == losses(stock, examples)


def test_no_instance_has_no_score(model_of):
    model = model_of("StandardROIHeads", *SCORED)
    model.roi_heads.box_predictor.test_score_thresh = 1.0
    assert len(predicted(model)) == 0


def test_given_boxes_without_a_score_get_masks_and_no_score(model_of):
    model = model_of("StandardROIHeads", *SCORED).eval()
    given = Instances((SIDE, SIDE), pred_boxes=Boxes(torch.tensor([A]).float()))
    given.pred_classes = torch.tensor([1])
    with torch.no_grad():
        found = model.inference(batch({}), [given], do_postprocess=False)[0]
    assert found.pred_masks.shape == (1, 1, 28, 28)
    assert not found.has("scores")
