"""The components of weak maps as instances, through Detectron2's and our evaluator."""

import contextlib
import io
import json

import numpy as np
import pytest
from detectron2.evaluation import COCOEvaluator
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bestie_d2.errors import InputError
from bestie_d2.evaluation import (
    VOCInstanceEvaluator,
    evaluate_weak_components,
    weak_component_instances,
)

MAX_DETECTIONS = 500


def coco_evaluator(name: str, output_dir) -> COCOEvaluator:
    return COCOEvaluator(
        name,
        tasks=("segm",),
        distributed=False,
        output_dir=str(output_dir),
        max_dets_per_image=MAX_DETECTIONS,
        use_fast_impl=False,
    )


def test_components_become_instances():
    index_map = np.array([[1, 0, 0, 2], [0, 1, 0, 2], [0, 0, 0, 255], [1, 0, 2, 2]], dtype=np.uint8)
    found = weak_component_instances(index_map, num_classes=2, min_area=2)
    assert found.image_size == (4, 4)
    assert found.pred_classes.tolist() == [0, 1, 1]  # the lone pixel of class 0 is too small
    assert found.scores.tolist() == [1, 1, 1]
    assert found.pred_masks[0].nonzero().tolist() == [[0, 0], [1, 1]]
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 2, 2], [3, 0, 4, 2], [2, 3, 4, 4]]


def test_a_map_of_background_gives_no_instance():
    found = weak_component_instances(np.zeros((2, 3), np.uint8), num_classes=1)
    assert len(found) == 0
    assert found.pred_masks.shape == (0, 2, 3)


def test_figures_of_a_drawn_set(scene):
    name = scene()
    result = evaluate_weak_components(name, VOCInstanceEvaluator(name), min_area=1)
    # Cats: three of three. Dogs: of two one is half found, its second piece is a false positive.
    assert result["voc_instance"] == pytest.approx(
        {"mAP25": 75, "mAP50": 75, "mAP70": 50, "mAP75": 50, "AP50-cat": 100, "AP50-dog": 50}
    )


def test_coco_figures_are_those_of_pycocotools(scene, tmp_path):
    name = scene()
    evaluators = [coco_evaluator(name, tmp_path / "out"), VOCInstanceEvaluator(name)]
    result = evaluate_weak_components(name, evaluators, min_area=1)
    assert list(result) == ["segm", "voc_instance"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        written = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
        masks_only = [{k: v for k, v in entry.items() if k != "bbox"} for entry in written]
        by_hand = COCOeval(truth, truth.loadRes(masks_only), "segm")
        by_hand.params.maxDets = [1, 10, MAX_DETECTIONS]
        by_hand.evaluate()
        by_hand.accumulate()
    precision = by_hand.eval["precision"][..., 0, -1]  # all areas, the largest cap
    assert {entry["category_id"] for entry in written} == {3, 7}
    assert result["segm"]["AP"] == pytest.approx(100 * precision.mean())
    assert result["segm"]["AP50"] == pytest.approx(100 * precision[0].mean())
    assert result["segm"]["AP75"] == pytest.approx(100 * precision[5].mean())
    assert result["segm"]["AP-cat"] == pytest.approx(100)


def test_no_component_at_all(scene, tmp_path):
    name = scene()
    evaluators = [coco_evaluator(name, tmp_path / "out"), VOCInstanceEvaluator(name)]
    result = evaluate_weak_components(name, evaluators, min_area=100)
    assert np.isnan(result["segm"]["AP"])
    assert result["voc_instance"]["mAP50"] == 0


def test_another_folder_of_maps(scene, tmp_path):
    name = scene()
    (tmp_path / "other").mkdir()
    for stem, size in (("a", (4, 6)), ("b", (4, 4))):
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / "other" / f"{stem}.png")
    folder = str(tmp_path / "other")
    result = evaluate_weak_components(name, VOCInstanceEvaluator(name), weak_maps=folder)
    assert result["voc_instance"]["mAP25"] == 0


def test_refusals(scene, tmp_path):
    name = scene(weak_maps=None)
    evaluator = VOCInstanceEvaluator(name)
    with pytest.raises(InputError, match=r"has no weak maps: set DATASETS\.WEAK_MAPS"):
        evaluate_weak_components(name, evaluator)
    with pytest.raises(InputError, match=r"a\.png: no such file"):
        evaluate_weak_components(name, evaluator, weak_maps=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="'nowhere' is not registered"):
        evaluate_weak_components("nowhere", evaluator)
