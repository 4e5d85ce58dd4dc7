"""Which trainings are measured where the test set is the training set, as of labels alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.pipeline.stages import _is_measured

TAGS, CLASS_MAPS, MASKS = (
    {"file_name": "a.png", "image_classes": [0]},
    {"file_name": "a.png", "semantic_truth_file_name": "a.png"},
    {"file_name": "a.png", "annotations": []},
)


def is_measured(kind: str, name: str, test_set: str) -> bool:
    return _is_measured(
        SimpleNamespace(entry=SimpleNamespace(kind=kind), train_set=name, test_set=test_set)
    )


@pytest.mark.parametrize(
    ("kind", "record", "measured"),
    [
        ("pam", TAGS, True),
        ("wsss", TAGS, False),
        ("wsss", CLASS_MAPS, True),
        ("wsss", MASKS, True),
        ("bestie", TAGS, False),
        ("bestie", CLASS_MAPS, False),
        ("bestie", MASKS, True),
    ],
)
def test_a_training_is_measured_where_its_own_set_has_the_truth(new_name, kind, record, measured):
    name = new_name()
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name)  # makes it
    assert is_measured(kind, name, test_set=name) is measured
    assert is_measured(kind, name, test_set="another one")
