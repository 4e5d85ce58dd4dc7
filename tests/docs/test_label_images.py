"""docs/alternatives.md: label images become a COCO file that Mask R-CNN can be trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from documents import blocks_of
from PIL import Image
from pycocotools import mask as mask_api

from bestie_d2.data import register_weak_dataset

PAGE = Path("docs/alternatives.md")


def test_label_images_become_instances(tmp_path, monkeypatch, new_name):
    labels = np.zeros((4, 6), np.uint16)
    labels[:2, :2], labels[3, 2:] = 7, 300
    for name, array in (("a", labels), ("b", np.zeros((2, 3), np.uint16))):
        for folder, suffix, values in (
            ("images", "png", np.zeros(array.shape, np.uint8)),
            ("label_images", "tif", array),
        ):
            path = tmp_path / "my" / folder / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    (block,) = (block for block in blocks_of(PAGE) if block.language == "python")
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {})
    name = new_name()
    register_weak_dataset(
        name, images=str(tmp_path / "my" / "images"), annotations="my/masks/coco.json"
    )
    first, second = DatasetCatalog.get(name)
    assert second["annotations"] == []
    masks = [mask_api.decode(item["segmentation"]) for item in first["annotations"]]
    assert [item["category_id"] for item in first["annotations"]] == [0, 0]
    np.testing.assert_array_equal(masks, [labels == 7, labels == 300])
