"""The model zoo's Mask R-CNN through ``_BASE_``, on data sets from a yaml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from detectron2 import model_zoo
from detectron2.data import MetadataCatalog

from bestie_d2.data import expand_path
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_a_base_out_of_the_model_zoo():
    cfg = load_config(str(CONFIGS / "mrcnn_nuclei.yaml"))
    assert cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN"
    assert cfg.MODEL.BACKBONE.NAME == "build_resnet_fpn_backbone"
    assert cfg.MODEL.MASK_ON
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1
    assert cfg.INPUT.MAPPER == ""


@pytest.mark.parametrize(
    ("data", "num_classes", "labeled_set", "test_set"),
    [
        ("voc", 20, "voc_2012_train_aug", "voc_2012_seg_val"),
        ("coco", 80, "coco_2017_train", "coco_2017_val"),
        ("shapes", 4, "shapes_train", "shapes_val"),
    ],
)
def test_the_stage_behind_pseudo_labels(data, num_classes, labeled_set, test_set):
    cfg = load_config(str(CONFIGS / f"mrcnn_{data}.yaml"))
    assert cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN"
    assert num_classes == cfg.MODEL.ROI_HEADS.NUM_CLASSES
    assert cfg.INPUT.MASK_FORMAT == "bitmask"
    assert cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    (entry,) = cfg.DATASETS.CUSTOM
    assert (entry["name"],) == cfg.DATASETS.TRAIN
    assert (test_set,) == cfg.DATASETS.TEST
    assert entry["annotations"] == f"output/bestie_{data}/pseudo_labels.json"
    assert expand_path(entry["images"]) == MetadataCatalog.get(labeled_set).image_root
    teacher = CONFIGS / f"bestie_{data}.yaml"
    if teacher.exists():  # its labels are looked for where it writes them
        assert f"output/bestie_{data}" == load_config(str(teacher)).OUTPUT_DIR


def test_an_unknown_name_of_the_model_zoo_is_told(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text('_BASE_: "model_zoo://no_such.yaml"')
    with pytest.raises(InputError, match=r"wrong\.yaml: .*no_such\.yaml"):
        load_config(str(path))


@pytest.mark.parametrize("absolute", [True, False])
def test_a_file_elsewhere_is_not_read_as_the_model_zoos(tmp_path, absolute):
    """The zoo's files may hold Python, which Detectron2 runs."""
    mark = tmp_path / "it_ran"
    program = tmp_path / "program.yaml"
    program.write_text(f'SEED: !!python/object/apply:os.system ["touch {mark}"]')
    zoo = Path(model_zoo.__file__).parent / "configs"
    name = program if absolute else os.path.relpath(program, zoo)
    path = tmp_path / "wrong.yaml"
    path.write_text(f'_BASE_: "model_zoo://{name}"')
    with pytest.raises(InputError, match=r"wrong\.yaml: _BASE_ model_zoo://.* is no file of the"):
        load_config(str(path))
    assert not mark.exists()
