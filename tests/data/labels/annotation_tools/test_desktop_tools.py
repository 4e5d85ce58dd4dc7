"""LabelMe, COCO, QuPath, ImageJ, napari, tables and folders: exports as the tools write them."""

from __future__ import annotations

import json
import struct
import sys
import zipfile

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


def feature(kind: str, coordinates: list, classification: object = None) -> dict:
    properties = {"objectType": "annotation"}
    if classification:
        properties["classification"] = classification
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "8f", "geometry": geometry, "properties": properties}


def test_qupath(convert):
    features = [
        feature("Point", [20.5, 30.5], {"name": "cat", "color": [1, 2, 3]}),
        feature("MultiPoint", [[150, 80.75], [1.5, 2.5]], {"names": ["dog", "old"]}),
        feature("Polygon", [[[1, 1], [2, 2], [3, 1], [1, 1]]], {"name": "cat"}),
        feature("Point", [3, 3]),
    ]
    expected = {"a.png": [("cat", 20, 30), ("dog: old", 1, 2), ("dog: old", 149.5, 80.25)]}
    assert convert("a.geojson", {"type": "FeatureCollection", "features": features}) == expected
    assert [line.partition("left out: ")[2] for line in convert.told[1:3]] == [
        "1 polygons, which are no points",
        "1 points without a class",
    ]
    assert convert("a.png.geojson", features) == expected
    assert convert("a.geojson", features[3]) == {"a.png": [("object", 2.5, 2.5)]}
    assert "no point has a class: all are called 'object'" in convert.told[1]


MARKERS = """<?xml version="1.0" encoding="UTF-8"?>
<CellCounter_Marker_File>
 <Image_Properties>
     <Image_Filename>a.tif</Image_Filename>
 </Image_Properties>
 <Marker_Data>
     <Current_Type>1</Current_Type>
     <Marker_Type>
         <Type>1</Type>
         <Name>cat</Name>
         <Marker>
             <MarkerX>20</MarkerX>
             <MarkerY>30</MarkerY>
             <MarkerZ>1</MarkerZ>
         </Marker>
     </Marker_Type>
     <Marker_Type>
         <Type>2</Type>
         <Marker><MarkerX>150</MarkerX><MarkerY>80</MarkerY><MarkerZ>1</MarkerZ></Marker>
     </Marker_Type>
     <Marker_Type><Type>3</Type><Name>Type 3</Name></Marker_Type>
 </Marker_Data>
</CellCounter_Marker_File>
"""


def test_qupath_archive(convert, tmp_path):
    (tmp_path / "export").mkdir()
    path = tmp_path / "export" / "x.zip"

    def write(*second: dict) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", json.dumps(feature("Point", [20.5, 30.5])))
            archive.writestr("b.geojson", json.dumps(second))

    write(feature("Point", [1, 2]), feature("Point", [], None) | {"geometry": None})
    assert convert("x.zip") == {"a.png": [("object", 20, 30)], "b.jpg": [("object", 0.5, 1.5)]}
    assert "left out: 1 features without a geometry" in convert.told[2]
    write(feature("Point", []))
    with pytest.raises(InputError, match=r"x\.zip/b\.geojson: features\[0\]: a point is \[\], exp"):
        convert("x.zip")


def test_cell_counter(convert):
    expected = {"a.png": [("Type 2", 150, 80), ("cat", 20, 30)]}
    assert convert("CellCounter_a.xml", MARKERS) == expected
    without = MARKERS.replace("<Image_Filename>a.tif</Image_Filename>", "")
    assert convert("CellCounter_a.xml", without) == expected
    with pytest.raises(InputError, match=r"a marker of cat: 'MarkerX' is 'x', expected a number"):
        convert("CellCounter_a.xml", MARKERS.replace(">20<", ">x<"))


def selection(*xy: tuple[int, int]) -> bytes:
    """A point selection of whole pixels, as ImageJ's ``RoiEncoder`` writes it: a head of 64 bytes
    with the type (10) and the box, then all x and all y from the box's corner."""
    xs, ys = zip(*xy, strict=True)
    left, top = min(xs), min(ys)
    box = struct.pack(">4h", top, left, max(ys), max(xs))
    head = b"Iout" + struct.pack(">hBB", 227, 10, 0) + box + struct.pack(">H", len(xy))
    head = head.ljust(64, b"\0")
    places = [x - left for x in xs] + [y - top for y in ys]
    return head + struct.pack(f">{len(places)}h", *places)


def test_imagej_selections(convert, tmp_path):
    pytest.importorskip("roifile", reason="the optional package that reads ImageJ's selections")
    assert convert("a.roi", selection((20, 30), (150, 80))) == {
        "a.png": [("object", 20, 30), ("object", 150, 80)]
    }
    with zipfile.ZipFile(tmp_path / "export" / "RoiSet_a.zip", "w") as archive:
        archive.writestr("0001-0030-0020.roi", selection((20, 30)))
        archive.writestr("0002-0080-0150.roi", selection((150, 80)))
    assert convert("RoiSet_a.zip")["a.png"] == [("object", 20, 30), ("object", 150, 80)]
    with pytest.raises(InputError, match=r"a\.roi: not a selection of ImageJ"):
        convert("a.roi", b"Iout\0\0")


def test_imagej_selections_without_the_package(convert, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(InputError, match=r"needs a package: pip install roifile"):
        convert("a.roi", selection((20, 30)))


def test_a_file_that_names_no_picture_is_that_of_the_only_one(convert, images):
    text = "index,axis-0,axis-1\n0,30,20\n"
    assert convert("a_points.csv", text) == {"a.png": [("object", 20, 30)]}
    with pytest.raises(InputError, match=r"none of its 1 images is in .*; first Points"):
        convert("Points.csv", text)
    (images / "b.jpg").unlink()
    assert convert("Points.csv", text) == {"a.png": [("object", 20, 30)]}
    assert "it names no picture, and is taken for that of a.png" in convert.told[1]


def test_napari(convert):
    """y first; whole numbers are centers of pixels."""
    assert convert("a.csv", "index,axis-0,axis-1\n0.0,30.0,20.0\n1.0,80.25,150.5\n") == {
        "a.png": [("object", 20, 30), ("object", 150.5, 80.25)]
    }
    assert convert("a.csv", "index,axis-0,axis-1,label\n0,30.0,20.0,cat\n") == {
        "a.png": [("cat", 20, 30)]
    }
    with pytest.raises(InputError, match=r"axis-2: points of a stack"):
        convert("a.csv", "index,axis-0,axis-1,axis-2\n0,1,2,3\n")
    with pytest.raises(InputError, match=r"a\.csv: line 2 \('0,1,5,2,5'\): has 5 cells, the fir"):
        convert("a.csv", "index,axis-0,axis-1\n0,1,5,2,5\n")
    with pytest.raises(InputError, match=r"no points in it, but vertex"):
        convert("a.csv", "index,shape-type,vertex-index,axis-0,axis-1\n0,path,0,1,2\n")


TWO = {"a.png": [("cat", 20, 30), ("dog", 150.5, 80.25)]}


@pytest.mark.parametrize(
    "text",
    [
        "file_name,x,y,label\na.png,20,30,cat\na.png,150.5,80.25,dog\n",
        "image;class;X (px);Y (px)\na;cat;20,0;30,0\na;dog;150,5;80,25\n",
        "Label\tcol\trow\timage\ncat\t20\t30\ta.png\ndog\t150.5\t80.25\ta.png\n",
        "a.png,20,30,cat\na.png,150.5,80.25,dog\n",
        "x,y,species,note\n20,30,cat,-\n150.5,80.25,dog,-\n",  # in a.csv, of a.png
        "file,x %,y %,label\na.png,10.25,30.5,cat\na.png,75.5,80.75,dog\n",
        "file,x,y,label\na.png,10.25%,30.5%,cat\na.png,75.5%,80.75%,dog\n",
        "file,x_rel,y_rel,label\na.png,0.1025,0.305,cat\na.png,0.755,0.8075,dog\n",
        "file,x,y,label\na.png,0.1025,0.305,cat\na.png,0.755,0.8075,dog\n",
        "bild;x;y;klasse\na.png;20;30;cat\na.png;150,5;80,25;dog\n",
        "file,px_x,px_y,label\na.png,20,30,cat\na.png,150.5,80.25,dog\n",
        "file,x,y,label,\na.png,20,30,cat,,\na.png,150.5,80.25,dog\n",
    ],
)
def test_tables(convert, text):
    assert convert("a.csv", text) == TWO


def test_tables_in_percent_without_a_word(convert, images):
    """Twelve points within 100 pixels are no chance in a picture of 2000x1000."""
    Image.new("L", (2000, 1000)).save(images / "a.png")
    text = "file,x,y\n" + "".join(f"a.png,{i},{50 + i}\n" for i in range(1, 9))
    assert convert("t.csv", text)["a.png"][0] == ("object", 19.5, 509.5)
    assert any("read as percent after all" in line for line in convert.told)
    assert convert("t.csv", text, wanted="table-pixels")["a.png"][0] == ("object", 1, 51)
    few = "file,x,y\na.png,10,20\na.png,99,30\n"
    assert convert("t.csv", few)["a.png"] == [("object", 10, 20), ("object", 99, 30)]
    outside = "file,x,y\nb.jpg,50,75\nb.jpg,25,50\n"  # as pixels, one would be outside of 48x64
    assert convert("t.csv", outside)["b.jpg"] == [("object", 11.5, 31.5), ("object", 23.5, 47.5)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("file,x,y\na.png,20,cat\n", r"line 2 \('a\.png,20,cat'\): 'y' is 'cat', expected"),
        (
            "file,x,y,class,\na.png,10,5,20,5,cat\n",
            r"t\.csv: line 2 \('a\.png,10,5,20,5,cat'\): has 6 cells, the first "
            "line 4: put a cell that holds ',' into quotes, or semicolons between cells$",
        ),
        ("a.png,10,20\nb.jpg,10,5,20\n", r"\('b\.jpg,10,5,20'\): has 4 cells, the first line 3"),
        ("file;x;y\na.png;1;2;cat\n", "the first line 3: put a cell that holds ';' into quotes$"),
        ("file,x,y,class\na.png,10\n", r"\('a\.png,10'\): has 2 cells, none of them for 'y'$"),
        ("file,x,y\n,20,3\n", r"line 2 \(',20,3'\): names no image"),
        ("file,x,y\na.png,20,300\n", r"\(20, 300\) is outside the image of 100x200 pixels"),
        ("file,x,y\na.png,20,101\nb.jpg,101,1\n", r"is outside the image of"),
        (
            "file,x %,y %\nb.jpg,90,50\nb.jpg,110,50\n",  # no hint that x and y are exchanged
            r"t\.csv: image b\.jpg: point \(x, y\) = \(52\.3, 31\.5\) is outside the image of "
            r"64x48 pixels \(height x width\): line 3 \('b\.jpg,110,50'\) has \(110, 50\), "
            "expected 0 to 100$",
        ),
        ("file,x_px,y_px\nb.jpg,60,20\n", r"as \(row, column\) it would be inside"),
        (
            'file,x,y\na.png,"1,234",5\n',
            "'x' is '1,234', of which the comma may part .* write 1234 or 1.234$",
        ),
    ],
)
def test_table_refusals(convert, text, line):
    with pytest.raises(InputError, match=line):
        convert("t.csv", text)


def test_a_decimal_comma_is_one_where_it_can_be_nothing_else(convert):
    assert convert("t.csv", "file;x;y\na.png;1,234;5\n") == {"a.png": [("object", 1.234, 5)]}
    assert convert("t.csv", 'file,x,y\na.png,"20,5","0,125"\n') == {
        "a.png": [("object", 20.5, 0.125)]
    }


def test_a_table_that_may_be_exchanged_or_in_percent_is_refused(convert):
    """b.jpg is 64 pixels high and 48 wide."""
    text = "file,x,y\nb.jpg,60,40\nb.jpg,20,30\n"
    with pytest.raises(InputError, match=r"1 of 2 points lie outside .* but none with x and y"):
        convert("t.csv", text)
    assert convert("t.csv", text, wanted="table-percent") == {
        "b.jpg": [("object", 9.1, 18.7), ("object", 28.3, 25.1)]
    }
    with pytest.raises(InputError, match="are x and y swapped"):
        convert("t.csv", text, wanted="table-pixels")


def test_an_export_on_which_nothing_is_drawn_is_refused(convert, tmp_path):
    with pytest.raises(InputError, match=r"a\.json: nothing is drawn on any of its 1 images$"):
        convert("a.json", labelme())
    assert not (tmp_path / "out.json").exists()


def test_tags_that_are_asked_for_as_points(convert):
    with pytest.raises(InputError, match=r"t\.csv: is a table of tags, and has no columns x and y"):
        convert("t.csv", "file_name,tags\na.png,cat\nb.jpg,dog\n", kind="points")
    with pytest.raises(InputError, match="in no format that is known"):
        convert("t.csv", "file_name,lon,lat\na.png,3,4\n", kind="points")


def test_tables_of_tags(convert, images):
    assert convert("t.csv", "file_name,tags\na.png,cat;dog\nb.jpg,\nc.png,cat\n") == {
        "a.png": ["cat", "dog"],
        "b.jpg": [],
    }
    assert "read as a table of tags" in convert.told[0]
    assert convert.told[1] == f"left out: 1 images that are not in {images} (first c.png)"
    assert convert("t.csv", "file,dog,cat\na,1,0\nb,1,1\n") == {
        "a.png": ["dog"],
        "b.jpg": ["cat", "dog"],
    }


def test_folders_of_classes(convert, images, tmp_path):
    for name in ("cat/a.png", "dog/b.jpg", "train/cat/b.jpg"):
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    assert convert("") == {"a.png": ["cat"], "b.jpg": ["cat", "dog"]}
    assert convert("", images=str(tmp_path / "export")) == {
        "cat/a.png": ["cat"],
        "dog/b.jpg": ["dog"],
        "train/cat/b.jpg": ["cat"],
    }
