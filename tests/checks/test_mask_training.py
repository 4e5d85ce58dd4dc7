"""Sets with masks are looked through before a model of Detectron2's is trained on them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

from bestie_d2.checks.training import check_train_sets
from bestie_d2.data import register_weak_dataset
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RLE = {"size": [4, 4], "counts": "013000000"}
POLYGON = [[0, 0, 4, 0, 4, 1, 0, 1]]
IMAGES = [{"id": i, "file_name": f"{i}.png", "height": 4, "width": 4} for i in (1, 2, 3)]


def label(image_id: int, category_id: int = 3, segmentation=RLE, **more: int) -> dict:
    entry = {"id": image_id, "image_id": image_id, "category_id": category_id, "area": 4}
    return {**entry, "bbox": [0, 0, 4, 1], "segmentation": segmentation, **more}


@pytest.fixture
def register(tmp_path, new_name):
    """Registers a set of three images and two classes; returns its name."""

    def register(annotations: list[dict], classes=("cat", "dog"), kind="annotations") -> str:
        categories = [{"id": 3, "name": classes[0]}, {"id": 7, "name": classes[1]}]
        content = {"images": IMAGES, "categories": categories, "annotations": annotations}
        name = new_name()
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        register_weak_dataset(name, images=str(tmp_path), **{kind: str(path)})
        DatasetCatalog.get(name)  # as the check of the test sets does
        return name

    return register


def check(*names: str, test: str = "", **keys: object) -> None:
    pairs = {"MODEL.ROI_HEADS.NUM_CLASSES": 2, **{k.replace("__", "."): v for k, v in keys.items()}}
    words = [str(word) for pair in pairs.items() for word in pair]
    sets = ["DATASETS.TRAIN", str(names), "DATASETS.TEST", str((test,) if test else ())]
    config = str(CONFIGS / "mrcnn_shapes.yaml")
    check_train_sets(load_config(config, ["MODEL.DEVICE", "cpu", *sets, *words]))


def test_images_that_are_dropped_are_counted(register, caplog):
    name = register([label(1), label(2, segmentation=RLE, iscrowd=1)])
    with caplog.at_level(logging.INFO):
        check(name)
        check(name, DATALOADER__FILTER_EMPTY_ANNOTATIONS=False)
    key = "DATALOADER.FILTER_EMPTY_ANNOTATIONS"
    told = [record for record in caplog.records if record.name == "bestie_d2.checks.training"]
    assert [record.getMessage() for record in told] == [
        f"{name}: 2 of 3 images have no instance and are left out of the training ({key} True)",
        f"{name}: 2 of 3 images have no instance and are trained on as background ({key} False)",
    ]


def test_another_number_of_classes_is_told(register):
    with pytest.raises(InputError, match=r"MODEL.ROI_HEADS.NUM_CLASSES is 5, but .* 2 classes"):
        check(register([label(1)]), MODEL__ROI_HEADS__NUM_CLASSES=5)


def test_every_set_is_looked_at(register):
    with pytest.raises(InputError, match=r"none of the 3 images of '.*_1'"):
        check(register([label(1)]), register([]))


def test_classes_in_another_order_than_the_test_sets_are_told(register):
    train, test = register([label(1)]), register([label(1)], classes=("dog", "cat"))
    with pytest.raises(InputError, match=r"cat, dog, those of .* in another order \(dog, cat\)"):
        check(train, test=test)
    with pytest.raises(InputError, match=r"cat, dog, those of .* other ones \(cat, hound\)"):
        check(train, test=register([label(1)], classes=("cat", "hound")))


def test_rle_needs_bitmask(register):
    polygons = {"INPUT__MASK_FORMAT": "polygon"}
    with pytest.raises(InputError, match=r"INPUT.MASK_FORMAT is 'polygon', .* to 'bitmask'"):
        check(register([label(1)]), **polygons)
    check(register([label(1, segmentation=POLYGON), label(2, iscrowd=1)]), **polygons)
    check(register([label(1)]), **polygons, MODEL__MASK_ON=False)


def test_sets_that_cannot_be_trained_on_are_told(register):
    with pytest.raises(InputError, match="'nowhere' is not registered"):
        check("nowhere")
    with pytest.raises(InputError, match="has no masks to train on; register it"):
        check(register([label(1)], kind="tags"))
    with pytest.raises(InputError, match="none of the 3 images"):
        check(register([]))
    check(register([]), DATALOADER__FILTER_EMPTY_ANNOTATIONS=False)


STOCK = """
_BASE_: "{configs}/mrcnn_shapes.yaml"
DATASETS:
  CUSTOM:
    - name: "tiny_masks"
      images: "{folder}/images"
      annotations: "{folder}/annotations.json"
  TRAIN: ("tiny_masks",)
  TEST: ()
"""


def test_the_main_command_refuses_before_it_builds(project, run_tool):
    (project / "stock.yaml").write_text(STOCK.format(configs=CONFIGS, folder=project))
    done = run_tool("train_net.py", "--config-file", "stock.yaml", "MODEL.DEVICE", "cpu")
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.startswith("error: MODEL.ROI_HEADS.NUM_CLASSES is 4, but the data set")
    assert done.stderr.count("\n") == 1


def test_models_with_a_mapper_check_their_own_sets():
    config = str(CONFIGS / "bestie_shapes.yaml")
    sets = ["DATASETS.TRAIN", "('nowhere',)", "DATASETS.TEST", "()"]
    check_train_sets(load_config(config, ["MODEL.DEVICE", "cpu", *sets]))
