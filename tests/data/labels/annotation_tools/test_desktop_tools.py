"""LabelMe and COCO: exports as the tools write them."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from bestie_d2.errors import InputError


def labelme(*shapes: dict, **others) -> dict:
    size = {"imagePath": "..\\images\\a.png", "imageHeight": 100, "imageWidth": 200}
    head = {"version": "5.4.1", "flags": {}, "imageData": None}
    return {**head, **size, "shapes": [*shapes], **others}


def drawn(kind: str, *points: list, label: str = "cat") -> dict:
    return {"label": label, "points": [*points], "group_id": None, "shape_type": kind, "flags": {}}


def test_labelme(convert, tmp_path):
    old = {"label": "dog", "points": [[150.0, 80.75]]}  # before there was a shape_type
    outline = drawn("polygon", [1, 1], [2, 2], [3, 1])
    first = labelme(drawn("point", [20.5, 30.5]), outline, old)
    second = labelme(
        imagePath="b.jpg", imageHeight=64, imageWidth=48, flags={"cat": True, "x": False}
    )
    assert convert("a.json", first) == {"a.png": [("cat", 20, 30), ("dog", 149.5, 80.25)]}
    (tmp_path / "export" / "b.json").write_text(json.dumps(second))
    assert convert("")["b.jpg"] == []
    assert "left out: 1 polygons, which are no points" in convert.told[1]
    assert convert("", kind="tags") == {"a.png": [], "b.jpg": ["cat"]}


def test_labelme_several_points_and_centers(convert):
    several = drawn("points", [20.5, 30.5], [150, 80.75])
    assert convert("a.json", labelme(several))["a.png"] == [("cat", 20, 30), ("cat", 149.5, 80.25)]
    shapes = (
        drawn("rectangle", [10, 20], [30, 60]),
        drawn("circle", [50, 40], [52, 40], label="dog"),
    )
    assert convert("a.json", labelme(*shapes)) == {
        "a.png": [("cat", 19.5, 39.5), ("dog", 49.5, 39.5)]
    }
    assert "no points but 2 boxes and circles: their centers" in convert.told[1]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"shapes": [drawn("point", ["x", 3])]}, r"a\.json: shapes\[0\]: 'x' is 'x', expected a n"),
        ({"shapes": [drawn("point")]}, r"a\.json: shapes\[0\]: 'points' is empty"),
        ({"shapes": ["cat"]}, r"a\.json: shapes\[0\]: is 'cat', expected an object"),
        ({"imageWidth": -200}, r"a\.json: \.\.\\images\\a\.png: 'imageWidth' is -200, expect"),
        ({"imageHeight": 0}, r"a\.png: 'imageHeight' is 0, expected pixels, 1 or more$"),
        ({"imagePath": "c.png"}, r"none of its 1 images is in .*images; first c\.png"),
    ],
)
def test_labelme_refusals(convert, change, line):
    name = "c.json" if "imagePath" in change else "a.json"
    with pytest.raises(InputError, match=line):
        convert(name, labelme(drawn("point", [1, 1])) | change)


@pytest.mark.parametrize(("orientation", "place"), [(6, (59, 20)), (8, (20, 79))])
def test_points_of_the_picture_as_it_is_stored_are_turned_with_it(
    convert, images, orientation, place
):
    """Stored with 80 rows of 100 pixels. Turned clockwise (6), a point 20 from the top comes to
    20 from the right; counterclockwise (8), a point 20 from the left to 20 from below."""
    entry = Image.Exif()
    entry[0x0112] = orientation
    Image.new("RGB", (100, 80)).save(images / "a.png", exif=entry)
    export = labelme(drawn("point", [20.5, 20.5]), imageHeight=80, imageWidth=100)
    assert convert("a.json", export) == {"a.png": [("cat", *place)]}
    shown = labelme(drawn("point", [20.5, 20.5]), imageHeight=100, imageWidth=80)
    assert convert("a.json", shown) == {"a.png": [("cat", 20, 20)]}


def coco(annotations: list, **category) -> dict:
    return {
        "images": [
            {"id": 5, "file_name": "images/a.png", "width": 200, "height": 100},
            {"id": 9, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat", **category}],
        "annotations": [{"image_id": 5, "category_id": 1, **entry} for entry in annotations],
    }


def test_coco_keypoints(convert):
    """Indices of pixels; without names each is an object."""
    keypoints = {"keypoints": [20, 30, 2, 150.5, 80, 1, 0, 0, 0], "num_keypoints": 2}
    crowd = {"iscrowd": 1, "bbox": [1, 1, 2, 2]}
    assert convert("coco.json", coco([keypoints, crowd])) == {
        "a.png": [("cat", 20, 30), ("cat", 150.5, 80)],
        "b.jpg": [],
    }
    assert "left out: 1 crowd regions (iscrowd)" in convert.told[1]
    assert [c["name"] for c in convert.written["categories"]] == ["cat", "dog"]
    parts = ["nose", "left_eye", "right_eye"]
    body = {"keypoints": [10, 10, 2, 20, 12, 2, 33, 10, 2]}
    assert convert("coco.json", coco([body], keypoints=parts))["a.png"] == [("cat", 20, 12)]
    assert "1 objects have several keypoints, their parts" in convert.told[1]


def test_coco_boxes(convert):
    assert convert("coco.json", coco([{"bbox": [10, 20, 20, 40]}]))["a.png"] == [
        ("cat", 19.5, 39.5)
    ]
    assert "no points but 1 boxes: their centers are taken for points" in convert.told[1]
    assert convert("coco.json", coco([{"bbox": [1, 2, 2, 4]}]), kind="tags")["a.png"] == ["cat"]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"keypoints": [1, 2]}, r"annotations\[0\]: 'keypoints' are 2 numbers, not x, y, v each"),
        ({"bbox": [1, 2, 3]}, r"annotations\[0\]: 'bbox' is \[1, 2, 3\], expected \[left, top, wi"),
        ({"bbox": [1, 2, None, 3]}, r"annotations\[0\]: 'bbox' is None, expected a number"),
        ({"image_id": 4}, r"annotations\[0\]: image id 4 is not in 'images'"),
        (
            {"id": 77, "bbox": [9, 9, -4, 3]},
            r"coco\.json: annotations\[0\] \(id 77\): 'bbox' is \[9, 9, -4, 3\], "
            r"expected \[left, top, width, height\], of which the last two are not below 0$",
        ),
        ({"iscrowd": 1}, "nothing is drawn on any of its 2 images; left out: 1 crowd regions"),
    ],
)
def test_coco_refusals(convert, entry, line):
    with pytest.raises(InputError, match=line):
        convert("coco.json", coco([entry]))


@pytest.mark.parametrize("name", ["categories", "images"])
def test_coco_without_one_of_its_lists(convert, name):
    content = coco([])
    del content[name]
    line = rf"coco\.json: has no list '{name}' at the top level: export it with its {name}$"
    with pytest.raises(InputError, match=line):
        convert("coco.json", content)


def test_an_export_on_which_nothing_is_drawn_is_refused(convert, tmp_path):
    with pytest.raises(InputError, match=r"a\.json: nothing is drawn on any of its 1 images$"):
        convert("a.json", labelme())
    assert not (tmp_path / "out.json").exists()
