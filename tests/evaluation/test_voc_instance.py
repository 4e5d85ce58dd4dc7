"""VOC instance AP: hand-drawn scenes with literal answers, and a slow independent count."""

import logging
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from pycocotools import mask as mask_api

from bestie_d2.errors import InputError
from bestie_d2.evaluation import VOCInstanceEvaluator, voc_instance_ap

THRESHOLDS = (0.25, 0.5, 0.7, 0.75)


def item(drawing: str, score: float | None = None, category_id: int = 0) -> dict:
    """An object on a strip of pixels, drawn with ``#``."""
    mask = np.array([[letter == "#" for letter in drawing]], dtype=np.uint8, order="F")
    found = {"category_id": category_id, "segmentation": mask_api.encode(np.asfortranarray(mask))}
    return found if score is None else {**found, "score": score}


def figures(predictions: list[dict], truth: list[dict]) -> list[float]:
    """mAP at 25, 50, 70, 75 of one image."""
    result = voc_instance_ap({1: predictions}, {1: truth})
    assert list(result) == ["mAP25", "mAP50", "mAP70", "mAP75"]
    return list(result.values())


def test_iou_that_equals_the_threshold_is_a_hit():
    assert figures([item("##..", 0.9)], [item("####")]) == [100, 100, 0, 0]
    assert figures([item("###.", 0.9)], [item("####")]) == [100, 100, 100, 100]
    assert figures([item("#######...", 0.9)], [item("##########")]) == [100, 100, 100, 0]


def test_void_counts_as_background_in_the_union():
    # The truth file has 255 where the prediction has its last two pixels: IoU 2 / 4 all the same.
    assert figures([item("####", 0.9)], [item("##..")]) == [100, 100, 0, 0]


def test_a_second_prediction_of_an_object_is_a_false_positive():
    truth = [item("##...."), item("....##")]
    twice_first = [item("##....", 0.9), item("##....", 0.8), item("....##", 0.7)]
    # precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    assert figures(twice_first, truth) == pytest.approx([100 * (1 + 2 / 3) / 2] * 4)


def test_only_the_best_object_counts_even_if_another_is_free():
    truth = [item("######...."), item("...#######")]
    first = item("######....", 0.9)
    second = item("..#####...", 0.8)  # IoU 4 / 7 with the taken object, 4 / 8 with the free one
    assert figures([first, second], truth) == [50, 50, 50, 50]
    assert figures([second, item("......####", 0.7)], truth) == [100, 100, 0, 0]


def test_classes_without_objects_are_left_out_of_the_mean():
    predictions = [item("##", 0.9), item("##", 0.9, category_id=1)]
    result = voc_instance_ap({1: predictions}, {1: [item("##")]}, class_names=["cat", "dog"])
    assert result["mAP50"] == 100
    assert result["AP50-cat"] == 100
    assert math.isnan(result["AP50-dog"])


def test_equal_scores_keep_their_order():
    hit, miss = item("##..", 0.5), item("..##", 0.5)
    assert figures([hit, miss], [item("##..")]) == [100] * 4
    assert figures([miss, hit], [item("##..")]) == [50] * 4
    both = {1: [item("##..")], 2: [item("##..")]}
    assert voc_instance_ap({1: [hit], 2: [miss]}, both)["mAP50"] == 50
    assert voc_instance_ap({2: [miss], 1: [hit]}, both)["mAP50"] == 25


def test_predictions_in_images_without_objects_are_false_positives():
    predictions = {7: [item("##", 0.9)], 1: [item("##", 0.8)]}
    assert voc_instance_ap(predictions, {1: [item("##")], 7: []})["mAP50"] == 50
    assert voc_instance_ap(predictions, {1: [item("##")]})["mAP50"] == 50


def test_nothing_predicted_and_nothing_there():
    assert figures([], [item("##")]) == [0] * 4
    assert all(math.isnan(value) for value in figures([item("##", 1.0)], []))
    assert all(math.isnan(value) for value in voc_instance_ap({}, {}).values())


def test_keys_follow_the_thresholds():
    result = voc_instance_ap({}, {1: [item("#")]}, iou_thresholds=(0.5, 0.95), class_names=["cat"])
    assert result == {"mAP50": 0, "mAP95": 0, "AP50-cat": 0}


def test_masks_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"image 5: predicted masks of 1x3 .* true ones of 1x2"):
        voc_instance_ap({5: [item("##.", 1.0)]}, {5: [item("##")]})


# -- the slow count: masks as sets of pixels, exact fractions, one prediction at a time


def slow_ap(predictions: dict, truth: dict, threshold: float) -> float:
    class_figures = []
    for class_id in {item["category_id"] for items in truth.values() for item in items}:
        queue = [
            (image_id, prediction)
            for image_id, items in predictions.items()
            for prediction in items
            if prediction["category_id"] == class_id
        ]
        queue.sort(key=lambda entry: -entry[1]["score"])
        free = {
            image_id: [[o["pixels"], True] for o in items if o["category_id"] == class_id]
            for image_id, items in truth.items()
        }
        total = sum(len(objects) for objects in free.values())
        curve, num_hits = [], 0
        for number, (image_id, prediction) in enumerate(queue, start=1):
            pixels, best, chosen = prediction["pixels"], Fraction(0), None
            for candidate in free[image_id]:
                iou = Fraction(len(pixels & candidate[0]), len(pixels | candidate[0]))
                if iou > best:
                    best, chosen = iou, candidate
            if chosen is not None and best >= Fraction(str(threshold)) and chosen[1]:
                chosen[1] = False
                num_hits += 1
            curve.append((Fraction(num_hits, total), Fraction(num_hits, number)))
        steps = [Fraction(step, total) for step in range(1, total + 1)]
        best_precision = [max((p for r, p in curve if r >= s), default=0) for s in steps]
        class_figures.append(sum(best_precision) / total)
    return float(100 * sum(class_figures) / len(class_figures))


def random_scene(rng: np.random.Generator) -> tuple[dict, dict]:
    """Rectangles of two classes on up to three 8x8 images; predictions are shifted truth or chance.

    Scores are of five values only, so that many are equal.
    """

    def rectangle(corner: np.ndarray, size: np.ndarray) -> dict:
        mask = np.zeros((8, 8), dtype=np.uint8, order="F")
        (top, left), (bottom, right) = corner.clip(0, 7), corner.clip(0, 7) + size
        mask[top:bottom, left:right] = 1
        pixels = set(zip(*(axis.tolist() for axis in mask.nonzero()), strict=True))
        return {"segmentation": mask_api.encode(mask), "pixels": pixels}

    truth: dict[int, list] = {}
    predictions: dict[int, list] = {}
    for image_id in range(rng.integers(1, 4)):
        truth[image_id], predictions[image_id] = [], []
        for _ in range(rng.integers(1, 5)):
            corner, size = rng.integers(0, 6, 2), rng.integers(2, 6, 2)
            class_id = int(rng.integers(2))
            truth[image_id].append({"category_id": class_id, **rectangle(corner, size)})
            for _ in range(rng.integers(0, 4)):
                shifted = rectangle(corner + rng.integers(-1, 2, 2), size)
                score = float(rng.integers(1, 6)) / 5
                found = {"category_id": int(rng.integers(2)), "score": score}
                predictions[image_id].append({**found, **shifted})
    return predictions, truth


@pytest.mark.parametrize("seed", range(200))
def test_agrees_with_the_slow_count(seed):
    predictions, truth = random_scene(np.random.default_rng(seed))
    result = voc_instance_ap(predictions, truth)
    for threshold in THRESHOLDS:
        expected = slow_ap(predictions, truth, threshold)
        assert result[f"mAP{round(100 * threshold)}"] == pytest.approx(expected)


# -- the evaluator


def instances(masks: list, classes: list[int], scores: list[float], size=(4, 6)) -> Instances:
    found = Instances(size)
    found.pred_masks = torch.tensor(np.array(masks).reshape(-1, *size))
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    found.scores = torch.tensor(scores)
    return found


def evaluated(name: str, *outputs: tuple[int, Instances]) -> dict:
    evaluator = VOCInstanceEvaluator(name)
    evaluator.reset()
    for image_id, found in outputs:
        evaluator.process([{"image_id": image_id}], [{"instances": found}])
    return evaluator.evaluate()["voc_instance"]


def test_evaluator(scene, caplog):
    left_cat = np.zeros((4, 6), dtype=bool)
    left_cat[:2, :2] = True
    with caplog.at_level(logging.INFO, "bestie_d2"):
        result = evaluated(
            scene(),
            (2, instances([], [], [], (4, 4))),
            (1, instances([left_cat, ~left_cat], [0, 1], [0.9, 0.8])),
        )
    # one of three cats, none of two dogs (4 of 20 pixels)
    assert result == pytest.approx(
        {"mAP25": 100 / 6, "mAP50": 100 / 6, "mAP70": 100 / 6, "mAP75": 100 / 6}
        | {"AP50-cat": 100 / 3, "AP50-dog": 0}
    )
    assert "2 images, 2 predictions" in caplog.text
    assert "mAP75" in caplog.text


def test_predictions_of_several_processes_are_merged_in_the_order_of_the_set(scene, monkeypatch):
    dog, miss = np.zeros((4, 4), dtype=bool), np.zeros((4, 6), dtype=bool)
    dog[3, 0] = miss[0, 3] = True

    def gather(own: dict, dst: int) -> list[dict]:
        return [{2: own[2]}, {1: own[1]}]

    monkeypatch.setattr("bestie_d2.evaluation.base.comm.gather", gather)
    outputs = (1, instances([miss], [1], [0.5])), (2, instances([dog], [1], [0.5], (4, 4)))
    assert evaluated(scene(), *outputs)["AP50-dog"] == 25  # the miss in the first image is first


def test_only_the_main_process_evaluates(scene, monkeypatch):
    monkeypatch.setattr("bestie_d2.evaluation.base.comm.is_main_process", lambda: False)
    name = scene()
    assert VOCInstanceEvaluator(name).evaluate() == {}
    assert "voc_instance" in VOCInstanceEvaluator(name, distributed=False).evaluate()


def test_evaluator_without_any_prediction(scene):
    assert evaluated(scene())["mAP50"] == 0


def test_truth_of_a_set_registered_by_its_tags(scene, tmp_path):
    name = scene(tags=str(tmp_path / "truth.json"))  # masks are not in the records then
    assert evaluated(name)["mAP50"] == 0


def test_crowds_are_left_out_and_polygons_read(scene, drawn_truth, caplog):
    cat, dog, other_cat = drawn_truth["annotations"][:3]
    drawn_truth["annotations"] = [cat, {**other_cat, "iscrowd": 1}, dog]
    cat["segmentation"] = [[0, 0, 2, 0, 2, 2, 0, 2]]
    left_cat = np.zeros((4, 6), dtype=bool)
    left_cat[:2, :2] = True
    with caplog.at_level(logging.INFO, "bestie_d2"):
        result = evaluated(scene(drawn_truth), (1, instances([left_cat], [0], [0.9])))
    assert result["AP50-cat"] == 100
    assert "1 crowd annotations are left out" in caplog.text


def test_a_set_without_truth_is_refused(scene, tmp_path):
    name = scene(annotations=None, tags=str(tmp_path / "truth.json"))
    with pytest.raises(InputError, match="has no true masks: register it with 'annotations'"):
        VOCInstanceEvaluator(name)
    with pytest.raises(InputError, match="'nowhere' is not registered"):
        VOCInstanceEvaluator("nowhere")
