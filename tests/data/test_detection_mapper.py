"""The mapper of Detectron2's own models."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from bestie_d2.data import DetectionMapper
from bestie_d2.data.images import ImageReader

SQUARES = {(2, 3): 4, (20, 1): 0, (30, 9): 2}  # class of the object with this corner (x, y)


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
        }
        for (x, y), class_id in SQUARES.items()
    ]
    return {"file_name": path, "image_id": 7, "height": 24, "width": 40, "annotations": objects}


def test_objects_move_with_the_image_and_crowds_are_left_out(record):
    """The right three quarters of the image, mirrored: the first object is outside of them."""
    mapper = DetectionMapper(
        True,
        reader=ImageReader("RGB"),
        augmentations=[T.CropTransform(10, 0, 30, 24), T.RandomFlip(prob=1.0)],
        image_format="RGB",
        use_instance_mask=True,
    )
    found = mapper(record)
    assert found["image"].shape == (3, 24, 30)
    assert found["instances"].gt_classes.tolist() == [0, 2]
    assert found["instances"].gt_boxes.tensor.tolist() == [[14, 1, 20, 7], [4, 9, 10, 15]]
    around = found["instances"].gt_masks.get_bounding_boxes()
    assert around.tensor.tolist() == [[14, 1, 20, 7], [4, 9, 10, 15]]
    assert [entry["category_id"] for entry in record["annotations"]] == [4, 0, 2]
    record["annotations"][1]["iscrowd"] = 1
    assert mapper(record)["instances"].gt_classes.tolist() == [2]
