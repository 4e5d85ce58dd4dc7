"""The model zoo's Mask R-CNN through ``_BASE_``, on data sets from a yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_an_unknown_name_of_the_model_zoo_is_told(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text('_BASE_: "model_zoo://no_such.yaml"')
    with pytest.raises(InputError, match=r"wrong\.yaml: .*no_such\.yaml"):
        load_config(str(path))
