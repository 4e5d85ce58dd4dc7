"""QuPath, ImageJ and napari: exports as the tools write them."""

from __future__ import annotations

import json
import struct
import sys
import zipfile

import pytest

from bestie_d2.errors import InputError


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
