"""The mask head that scores masks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from bestie_d2.modeling.heads.scored_mask import mask_certainty

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIDE = 64
SCORED = ("MODEL.ROI_MASK_HEAD.NAME", "ScoredMaskHead")
BOX = (4, 4, 28, 28)


@pytest.fixture
def model_of(tiny_config):
    """Mask R-CNN with these keys; the same weights whatever its heads."""

    def build(*keys: str) -> torch.nn.Module:
        config = (CONFIGS / "mrcnn_shapes.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")
        torch.manual_seed(1)
        weights = build_model(tiny_config(*config)).state_dict()
        model = build_model(tiny_config(*config, *keys))
        model.load_state_dict(weights)
        return model

    return build


def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def predicted(model: torch.nn.Module) -> Instances:
    with torch.no_grad():
        return model.eval().inference([{"image": image()}], do_postprocess=False)[0]


def losses(model: torch.nn.Module) -> dict[str, float]:
    """Those of an image with one object."""
    instances, mask = Instances((SIDE, SIDE)), torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[:, 4:28, 4:28] = True
    instances.gt_boxes = Boxes(torch.tensor([BOX]).float())
    instances.gt_classes = torch.tensor([0])
    instances.gt_masks = BitMasks(mask)
    torch.manual_seed(2)  # proposals are drawn
    with EventStorage(0):
        found = model.train()([{"image": image(), "instances": instances}])
    return {name: value.item() for name, value in found.items()}


def test_the_certainty_of_a_mask_is_the_mean_over_its_pixels():
    masks = [[[0.9, 0.7], [0.2, 0.5]], [[0.6, 0.6], [0.6, 0.6]], [[0.1, 0.3], [0.4, 0.0]]]
    assert mask_certainty(torch.tensor(masks)[:, None]).tolist() == pytest.approx([0.7, 0.6, 0.0])
    assert mask_certainty(torch.zeros(0, 1, 28, 28)).shape == (0,)
    half = torch.full((1, 1, 28, 28), 0.75, dtype=torch.bfloat16)
    half[:, :, 0, 0] = 0.5
    exact = (0.75 * (28 * 28 - 1) + 0.5) / (28 * 28)  # in bfloat16 it would be .75
    assert mask_certainty(half).item() == pytest.approx(exact, rel=1e-6)


def test_scores_of_masks_change_scores_and_nothing_else(model_of):
    scored, stock = model_of(*SCORED), model_of()
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
    assert losses(scored) == losses(stock)
    assert losses(stock)["loss_mask"] > 0


def test_no_instance_has_no_score(model_of):
    model = model_of(*SCORED)
    model.roi_heads.box_predictor.test_score_thresh = 1.0
    assert len(predicted(model)) == 0


def test_given_boxes_without_a_score_get_masks_and_no_score(model_of):
    model = model_of(*SCORED).eval()
    given = Instances((SIDE, SIDE), pred_boxes=Boxes(torch.tensor([BOX]).float()))
    given.pred_classes = torch.tensor([1])
    with torch.no_grad():
        found = model.inference([{"image": image()}], [given], do_postprocess=False)[0]
    assert found.pred_masks.shape == (1, 1, 28, 28)
    assert not found.has("scores")
