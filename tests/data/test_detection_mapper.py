"""The mapper of Detectron2's own models, where labels have scores."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from bestie_d2.data import DetectionMapper
from bestie_d2.data.images import ImageReader

SQUARES = {(2, 3): 4, (20, 1): 0, (30, 9): 2}  # class of the object with this corner (x, y)


def mapper() -> DetectionMapper:
    """Looks at the right three quarters of the image, mirrored."""
    augmentations = [T.CropTransform(10, 0, 30, 24), T.RandomFlip(prob=1.0)]
    return DetectionMapper(
        True,
        reader=ImageReader("RGB"),
        augmentations=augmentations,
        image_format="RGB",
        use_instance_mask=True,
    )


@pytest.fixture
def record(tmp_path, write_png) -> dict:
    path = write_png(tmp_path / "a.png", np.zeros((24, 40, 3)))
    objects = [
        {
            "bbox": [x, y, x + 6, y + 6],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": class_id,
            "segmentation": [[x, y, x + 6, y, x + 6, y + 6, x, y + 6]],
            "iscrowd": 0,
            "score": 0.1 * number,
        }
        for number, ((x, y), class_id) in enumerate(SQUARES.items(), 1)
    ]
    return {"file_name": path, "image_id": 7, "height": 24, "width": 40, "annotations": objects}


def test_scores_stay_with_their_objects(record):
    instances = mapper()(record)["instances"]  # the first one is outside of the crop
    assert instances.gt_classes.tolist() == [0, 2]
    assert instances.gt_scores.tolist() == pytest.approx([0.2, 0.3])
    assert instances.gt_boxes.tensor.tolist() == [[14, 1, 20, 7], [4, 9, 10, 15]]
    assert [entry["category_id"] for entry in record["annotations"]] == [4, 0, 2]


def test_crowds_are_left_out_with_their_scores(record):
    record["annotations"][1]["iscrowd"] = 1
    instances = mapper()(record)["instances"]
    assert (instances.gt_classes.tolist(), len(instances.gt_scores)) == ([2], 1)


def test_a_label_without_a_score_has_score_1_where_others_have_one(record):
    del record["annotations"][1]["score"]
    instances = mapper()(record)["instances"]
    assert instances.gt_classes.tolist() == [0, 2]
    assert instances.gt_scores.tolist() == pytest.approx([1, 0.3])


@pytest.mark.parametrize("count", [0, 3])
def test_true_labels_have_no_scores(record, count):
    objects = [{k: v for k, v in o.items() if k != "score"} for o in record["annotations"][:count]]
    instances = mapper()({**record, "annotations": objects})["instances"]
    assert instances.gt_classes.tolist() == [0, 2][:count]
    assert not instances.has("gt_scores")
