"""The benchmark of a set of COCO's size; `make test-slow` runs it, also at that size."""

from __future__ import annotations

import os

import coco_size
import pytest

IMAGES = int(os.environ.get("BESTIE_D2_COCO_IMAGES", coco_size.IMAGES))
MOST_SECONDS, MOST_MIB = 60, 2000  # until the first step of a training
LINEAR = 1.15  # of the growth: a loop over all for each of all would be 2


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_time_is_linear_and_a_training_starts_soon(tmp_path):
    rows = coco_size.measure(tmp_path, [IMAGES // 4, IMAGES // 2, IMAGES])
    named = {stage: rest for stage, images, *rest in rows if images == IMAGES}
    assert list(named) == [stage.__name__.replace("_", " ") for stage in coco_size.STAGES]
    for _, worked, memory, _ in (named["start of bestie"], named["start of mask rcnn"]):
        assert worked < MOST_SECONDS
        assert memory < MOST_MIB
    assert max(growth for *_, growth in named.values()) < LINEAR
