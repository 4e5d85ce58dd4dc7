"""Label Studio, CVAT, VIA and FiftyOne: exports as the tools write them, points as literals."""

from __future__ import annotations

import json
import zipfile

import pytest

from bestie_d2.errors import InputError


def region(kind: str, value: dict, **others) -> dict:
    size = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    names = {"from_name": "kp", "to_name": "image", "origin": "manual", "id": f"{kind}{value}"}
    return {**size, **names, "type": kind, "value": value, **others}


def keypoint(x: float, y: float, label: str = "cat", **others) -> dict:
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}
    return region("keypointlabels", value, **others)


def task(*results: dict, image: str = "/data/upload/1/0b1c2d3e-a.png", **others) -> dict:
    annotation = {"id": 7, "was_cancelled": False, "ground_truth": False, "result": [*results]}
    return {"id": 1, "data": {"image": image}, "annotations": [annotation], **others}


def test_label_studio(convert):
    """50 % of 200 pixels are 100 pixels from the corner, where the index is 99.5."""
    skipped = {"id": 8, "was_cancelled": True, "result": [keypoint(1, 1)]}
    first = task(
        keypoint(50, 25, image_rotation=90),
        keypoint(10.25, 10.5, "dog"),
        region(
            "rectanglelabels", {"x": 1, "y": 1, "width": 2, "height": 2, "rectanglelabels": ["cat"]}
        ),
        {"type": "relation", "from_id": "x", "to_id": "y"},
        predictions=[{"result": [keypoint(2, 2)]}],
    )
    first["annotations"].append(skipped)
    untouched = {"id": 2, "data": {"image": "b.jpg"}, "annotations": [], "predictions": []}
    first["file_upload"] = untouched["file_upload"] = "0b1c2d3e-tasks.json"
    assert convert("project.json", [first, untouched]) == {
        "a.png": [("cat", 99.5, 24.5), ("dog", 20, 10)]
    }
    assert [line.partition("project.json: ")[2] for line in convert.told[:5]] == [
        "read as Label Studio",
        "left out: 1 predictions",
        "left out: 1 cancelled annotations",
        "left out: 1 tasks without an annotation",
        "left out: 1 boxes, which are no points",
    ]
    assert convert.told[5:-1] == [
        "1 images, 2 points of 2 classes: cat 1, dog 1",
        "1 pictures of the folder are not in it and are left out",
    ]


@pytest.mark.parametrize(
    "image",
    [
        "s3://bucket/day 1/a.png",
        "/data/local-files/?d=set/a.png",
        "https://example.org/x/a.png?X-Amz-Signature=1f",
        "C:\\pictures\\a.png",
        "/data/upload/3/0b1c2d3e-a.png",
    ],
)
def test_label_studio_names_pictures_in_many_ways(convert, image):
    assert convert("t.json", [task(keypoint(50, 50), image=image)]) == {
        "a.png": [("cat", 99.5, 49.5)]
    }


def test_label_studio_stores_blanks_and_brackets_otherwise(convert, images):
    (images / "a.png").rename(images / "my cell (1).png")
    found = convert(
        "t.json", [task(keypoint(50, 50), image="/data/upload/1/0b1c2d3e-my_cell_1.png")]
    )
    assert found == {"my cell (1).png": [("cat", 99.5, 49.5)]}


def test_what_looks_like_label_studios_digits_is_kept_in_names_of_pictures(convert, images):
    (images / "a.png").rename(images / "20240101-my cat.png")
    (images / "b.jpg").rename(images / "20240102-my cat.jpg")
    expected = {"20240101-my cat.png": [("cat", 99.5, 49.5)]}
    for name in ("0b1c2d3e-20240101-my_cat.png", "20240101-my_cat.png"):
        assert convert("t.json", [task(keypoint(50, 50), image=name)]) == expected


def test_names_of_which_two_pictures_are_stored_alike_are_left_out(convert, images):
    (images / "a.png").rename(images / "my cat.png")
    (images / "b.jpg").rename(images / "my ,cat.jpg")
    with pytest.raises(InputError, match="none of its 1 images is in"):
        convert("t.json", [task(keypoint(50, 50), image="0b1c2d3e-my_cat.png")])


def test_labels_that_are_long_numbers_stay_apart(convert):
    results = [keypoint(50, 50, 1000001), keypoint(25, 50, 1000002), keypoint(75, 50, 0.5)]
    assert convert("t.json", [task(*results)]) == {
        "a.png": [("0.5", 149.5, 49.5), ("1000001", 99.5, 49.5), ("1000002", 49.5, 49.5)]
    }


def test_label_studio_csv_is_refused(convert):
    """It has what is drawn as JSON in a cell."""
    cell = json.dumps([keypoint(50, 50)["value"]]).replace('"', '""')
    text = f'image,id,label,annotator\n/data/upload/1/0b1c2d3e-a.png,1,"{cell}",1\n'
    with pytest.raises(InputError, match=r"t\.csv: line 2 holds JSON in a cell, as Label Studio's"):
        convert("t.csv", text)
    assert convert("t.csv", 'image,tags,meta\na.png,cat,"{""a"":1}"\nb.jpg,{},\n') == {
        "a.png": ["cat"],
        "b.jpg": [],
    }


def test_label_studio_takes_one_annotation_a_task(convert):
    two = task(keypoint(50, 50))
    newer = {"id": 8, "updated_at": "2024-02-01T10:00:00Z", "result": [keypoint(25, 50)]}
    two["annotations"][0]["updated_at"] = "2024-01-01T10:00:00Z"
    two["annotations"].append(newer)
    assert convert("t.json", [two]) == {"a.png": [("cat", 49.5, 49.5)]}
    two["annotations"][0]["ground_truth"] = True
    assert convert("t.json", [two]) == {"a.png": [("cat", 99.5, 49.5)]}
    assert "left out: 1 annotations of a task that has a newer one" in convert.told[1]


def test_label_studio_classes_in_a_result_of_their_own(convert):
    place = {"x": 50, "y": 50, "width": 0.5}
    results = [
        region("keypoint", place, id="r1"),
        region("labels", {**place, "labels": ["cat"]}, id="r1"),
        region("keypoint", {**place, "x": 25}, id="r2"),
        region("choices", {**place, "x": 25, "choices": ["dog"]}, id="r2"),
    ]
    assert convert("t.json", [task(*results)]) == {
        "a.png": [("cat", 99.5, 49.5), ("dog", 49.5, 49.5)]
    }


def test_label_studio_one_annotation_a_file(convert):
    """As the storage of a project is filled."""
    one = {"id": 1, "result": [keypoint(50, 50)], "task": {"id": 1, "data": {"image": "a.png"}}}
    assert convert("1", one) == {"a.png": [("cat", 99.5, 49.5)]}


def test_label_studio_json_min(convert):
    size = {"original_width": 200, "original_height": 100}
    record = {
        "image": "/data/upload/1/0b1c2d3e-a.png",
        "id": 1,
        "kp": [{"x": 50, "y": 25, "width": 0.5, "keypointlabels": ["cat"], **size}],
        **{"annotator": 1, "annotation_id": 3, "created_at": "2024", "updated_at": "2024-1"},
        **{"lead_time": 3.2},
    }
    older = {**record, "annotation_id": 2, "updated_at": "2023", "kp": []}
    assert convert("min.json", [record, older]) == {"a.png": [("cat", 99.5, 24.5)]}
    tagged = {"note": "of Monday", **record, "kp": []}
    tagged |= {"choice": "dog", "more": {"choices": ["cat", "owl"]}}
    assert convert("min.json", [tagged]) == {"a.png": ["cat", "dog", "owl"]}


def test_label_studio_choices(convert):
    chosen = region("choices", {"choices": ["cat", "dog"]})
    tasks = [task(chosen), task(image="b.jpg", id=2)]
    assert convert("t.json", tasks) == {"a.png": ["cat", "dog"], "b.jpg": []}
    assert "1 of the images have no tag" in convert.told


def test_label_studio_turned_box_has_its_center_where_it_is(convert):
    """20x10 pixels, turned by 90 degrees about its corner (100, 50): down and to the left."""
    value = {
        "x": 50,
        "y": 50,
        "width": 10,
        "height": 10,
        "rotation": 90,
        "rectanglelabels": ["cat"],
    }
    assert convert("t.json", [task(region("rectanglelabels", value))]) == {
        "a.png": [("cat", 94.5, 59.5)]
    }
    assert "no points but 1 boxes: their centers are taken for points" in convert.told[1]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"x": None, "y": 1}, r"task 1, result 0: 'x' is None, expected a number"),
        (
            {"x": 150, "y": 1},
            r"image a\.png: point \(x, y\) = \(299\.5, 0\.5\) is outside the .*: "
            r"task 1, result 0 has \(150, 1\), expected 0 to 100$",
        ),
        (
            {"x": 9, "y": 9, "width": 2, "height": -3},
            r"result 0: 'rectangle' is \[9, 9, 2, -3\], expected \[left, top, width, height\], of",
        ),
        ([1], r"task 1, value: is \[1\], expected an object"),
    ],
)
def test_label_studio_refusals(convert, value, line):
    kind = "rectanglelabels" if "width" in value else "keypointlabels"
    with pytest.raises(InputError, match=line):
        convert("t.json", [task(region(kind, value))])


@pytest.mark.parametrize("side", [-200, 0, "wide", 199.5])
def test_label_studio_sizes_that_cannot_be(convert, side):
    line = rf"t\.json: task 1: 'original_width' is {side!r}, expected pixels, 1 or more$"
    with pytest.raises(InputError, match=line):
        convert("t.json", [task(keypoint(50, 50, original_width=side))])
    record = {"image": "a.png", "id": 1, "kp": [{"x": 1, "y": 1, "original_width": side}]}
    with pytest.raises(InputError, match=line):
        convert("t.json", [record])


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>4</id><name>cells</name><size>2</size><mode>annotation</mode><labels>
    <label><name>dog</name><type>points</type><attributes></attributes></label>
    <label><name>cat</name><type>any</type></label>
    <label><name>owl</name><type>any</type></label>
    <label><name>blurred</name><type>tag</type></label>
  </labels></task><dumped>2024-01-01</dumped></meta>
  <image id="0" name="day 1/a.png" width="200" height="100">
    <points label="cat" source="manual" occluded="0" points="20.5,30.5;150.00,80.75" z_order="0">
      <attribute name="sure">yes</attribute>
    </points>
    <points label="dog" source="manual" occluded="0" points="1.5,2.5" z_order="0"/>
    <polygon label="cat" source="manual" occluded="0" points="1,1;2,2;3,1" z_order="0"/>
    <tag label="blurred" source="manual"/>
  </image>
  <image id="1" name="b.jpg" width="48" height="64"/>
</annotations>
"""


def test_cvat(convert):
    assert convert("annotations.xml", CVAT) == {
        "a.png": [("dog", 1, 2), ("cat", 20, 30), ("cat", 149.5, 80.25)],
        "b.jpg": [],
    }
    assert [c["name"] for c in convert.written["categories"]] == ["dog", "cat", "owl"]
    assert "left out: 1 polygons, which are no points" in convert.told[1]
    assert convert("annotations.xml", CVAT, kind="tags") == {"a.png": ["blurred"], "b.jpg": []}


def test_cvat_labels_that_its_meta_does_not_declare_come_last(convert):
    found = convert("x.xml", CVAT.replace('<points label="dog"', '<points label="ant"'))
    assert found["a.png"][2] == ("ant", 1, 2)
    assert [c["name"] for c in convert.written["categories"]] == ["dog", "cat", "owl", "ant"]
    assert "labels that its <meta> does not declare: ant; they come last" in convert.told[1]


def test_cvat_archive(convert, tmp_path, images):
    (tmp_path / "export").mkdir()
    with zipfile.ZipFile(tmp_path / "export" / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", CVAT)
        archive.writestr("images/a.png", (images / "a.png").read_bytes())
    assert convert("task.zip")["a.png"][0] == ("dog", 1, 2)


def test_cvat_boxes(convert):
    box = '<box label="cat" xtl="10" ytl="20" xbr="30" ybr="60" occluded="0"/>'
    text = f'<annotations><image name="a.png" width="200" height="100">{box}</image></annotations>'
    assert convert("x.xml", text) == {"a.png": [("cat", 19.5, 39.5)]}
    assert "no points but 1 boxes" in convert.told[1]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("150.00,80.75", "150.00", r"a\.png, points: a point is \['150\.00'\], expected \[x, y\]"),
        ("150.00,80.75", "150,nil", r"a\.png, points: 'y' is 'nil', expected a number"),
        ('width="200" height="100"', 'width="100" height="50"', r"has 50x100 pixels \(height x w"),
        ('width="200"', 'width="-200"', r"image day 1/a\.png: 'width' is '-200', expected pixels"),
        ('name="day 1/a.png"', "", r"image 0: 'name' is None, expected text"),
        ("<annotations>", "<!DOCTYPE a []><annotations>", r"has a document type"),
        ("</annotations>", "", r"not an XML file"),
    ],
)
def test_cvat_refusals(convert, old, new, line):
    with pytest.raises(InputError, match=line):
        convert("annotations.xml", CVAT.replace(old, new))


def test_cvat_of_a_video(convert):
    with pytest.raises(InputError, match="is of a video: export it as 'CVAT for images"):
        convert("x.xml", "<annotations><track label='cat'/></annotations>")


def via_region(shape: dict, **attributes) -> dict:
    return {"shape_attributes": shape, "region_attributes": attributes}


VIA_REGIONS = [
    via_region({"name": "point", "cx": 20, "cy": 30}, species="cat", sure="yes"),
    via_region({"name": "point", "cx": 150, "cy": 80}, species={"dog": True}, sure="no"),
    via_region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}, species="cat"),
]
VIA_POINTS = {"a.png": [("cat", 20, 30), ("dog", 150, 80)]}


def test_via_json(convert):
    entry = {"filename": "a.png", "size": 300, "regions": VIA_REGIONS, "file_attributes": {}}
    annotations = {"a.png300": entry}
    assert convert("via.json", annotations) == VIA_POINTS
    project = {"_via_settings": {}, "_via_img_metadata": annotations, "_via_attributes": {}}
    assert convert("via.json", project) == VIA_POINTS
    entry["regions"] = {str(number): r for number, r in enumerate(VIA_REGIONS)}  # VIA 1
    assert convert("via.json", annotations) == VIA_POINTS
    entry["regions"] = [via_region({"name": "rect", "x": 5, "y": 6, "width": -2, "height": 4})]
    with pytest.raises(InputError, match=r"regions\[0\]: 'rect' is \[5, 6, -2, 4\], expected "):
        convert("via.json", annotations)
    entry |= {"regions": [], "file_attributes": {"class": "cat", "caption": "a cat"}}
    assert convert("via.json", annotations) == {"a.png": ["cat"]}


def csv_line(*cells: object) -> str:
    quoted = (json.dumps(cell).replace('"', '""') for cell in cells)
    return ",".join(f'"{cell}"' if "{" in cell else cell.strip('"') for cell in quoted) + "\n"


@pytest.mark.parametrize("mark", ["", "#"])
def test_via_csv(convert, mark):
    heading = f"{mark}filename,file_size,file_attributes,region_count,region_id,"
    lines = [heading + "region_shape_attributes,region_attributes\n"]
    for number, r in enumerate(VIA_REGIONS):
        lines.append(csv_line("a.png", 300, {}, 3, number, *r.values()))
    lines.append(csv_line("b.jpg", 300, {"class": "cat"}, 0, 0, {}, {}))
    assert convert("via.csv", "".join(lines)) == {**VIA_POINTS, "b.jpg": []}
    assert convert("via.csv", "".join(lines), kind="tags") == {"a.png": [], "b.jpg": ["cat"]}


def test_fiftyone(convert):
    """0.5 of 200 pixels are 100 from the corner, where the index is 99.5."""
    nan = float("nan")
    points = [[0.5, 0.25], [nan, nan]]
    keypoints = {"_cls": "Keypoints", "keypoints": [{"label": "cat", "points": points}]}
    guess = {"_cls": "Keypoint", "label": "cat", "points": [[0.1, 0.1]], "confidence": 0.9}
    sample = {"filepath": "data/a.png", "tags": [], "ground_truth": keypoints, "model": guess}
    assert convert("samples.json", {"samples": [sample]}) == {"a.png": [("cat", 99.5, 24.5)]}
    assert [line.partition("left out: ")[2] for line in convert.told[1:3]] == [
        "1 keypoints that are not there",
        "1 predictions (labels with a confidence)",
    ]
    points[0][0] = 1.5
    with pytest.raises(InputError, match=r": samples\[0\] has \(1\.5, 0\.25\), expected 0 to 1$"):
        convert("samples.json", {"samples": [sample]})
    sample["ground_truth"] = {"_cls": "Classification", "label": "dog"}
    assert convert("samples.json", {"samples": [sample]}) == {"a.png": ["dog"]}


def test_fiftyone_labels(convert):
    """Classes as indices or names, or boxes, by the name of the file."""
    names = {"classes": ["cat", "dog"]}
    assert convert("labels.json", {**names, "labels": {"a": 1, "b": ["cat", "dog"]}}) == {
        "a.png": ["dog"],
        "b.jpg": ["cat", "dog"],
    }
    boxes = [{"label": 0, "bounding_box": [0.25, 0.5, 0.5, 0.25]}]
    assert convert("labels.json", {**names, "labels": {"a": boxes}}) == {
        "a.png": [("cat", 99.5, 62)]
    }
    boxes[0]["bounding_box"][2] = -0.5
    with pytest.raises(InputError, match=r"a: 'bounding_box' is \[0\.25, 0\.5, -0\.5, 0\.25\]"):
        convert("labels.json", {**names, "labels": {"a": boxes}})
    with pytest.raises(InputError, match=r"labels\.json: a: class 2, expected 0\.\.1"):
        convert("labels.json", {**names, "labels": {"a": 2}})
