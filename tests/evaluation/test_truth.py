"""True objects that are none are told with their file or image before they are compared with."""

from __future__ import annotations

import pytest

from bestie_d2.errors import InputError
from bestie_d2.evaluation import load_truth

# Changes to the first object of a.png, which has 4x6 pixels.
FORMS = [
    (
        {"bbox": [0, 0]},
        r"annotations\[0\]: 'bbox' is \[0, 0\], expected \[left, top, width, height",
    ),
    ({"segmentation": {"size": [4, 6]}}, r"annotations\[0\]: its RLE has the 'counts' None"),
]
MASKS = [
    ({"size": [4, 6], "counts": "0"}, "the counts of its RLE are not those of a mask of this size"),
    ({"size": [6, 4], "counts": [0, 24]}, r"its mask is \[6, 4\], its image \[4, 6\]"),
    ([[0, 0, 2, 2]], "a polygon of 4 numbers, expected x, y of three corners or more"),
]


@pytest.mark.parametrize("with_tags", [False, True])
@pytest.mark.parametrize(
    ("change", "line"),
    [
        *((change, rf"truth\.json: {line}") for change, line in FORMS),
        *(({"segmentation": mask}, rf"^truth of .*a\.png: {line}") for mask, line in MASKS),
    ],
)
def test_an_object_that_is_none(scene, drawn_truth, tmp_path, with_tags, change, line):
    drawn_truth["annotations"][0] |= change
    more = {"tags": str(tmp_path / "truth.json")} if with_tags else {}
    with pytest.raises(InputError, match=line):
        load_truth(scene(drawn_truth, **more))
