"""GeoJSON of a GeoTIFF: degrees where rasterio can tell them, else pixels and a line that says so.

The files are written tag by tag after OGC GeoTIFF 1.1, without rasterio, which reads them here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely import box
from shapely.geometry import MultiPolygon, Polygon, shape

from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers import WRITERS
from bestie_d2.writers.georeference import NO_RASTERIO

GEOGRAPHIC = {1024: 2, 1025: 1, 2048: 4326}  # keys: kind of system, pixels are areas, WGS 84
UTM_33 = {1024: 1, 1025: 1, 3072: 32633}
LOCAL = {1024: 1, 1025: 1, 3072: 32767, 3076: 9001}  # a plan of its own, in meters
RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)  # at pixel [1, 2]
APART = np.array([[1, 0], [0, 1]], bool)


def scale_and_tie(pixel: float, x: float, y: float) -> list[tuple]:
    """North at the top: the size of a pixel, and where pixel (0, 0) lies."""
    return [(33550, "d", 3, (pixel, pixel, 0)), (33922, "d", 6, (0, 0, 0, x, y, 0))]


def affine(a: float, b: float, c: float, d: float, e: float, f: float) -> list[tuple]:
    return [(34264, "d", 16, (a, b, 0, c, d, e, 0, f, *[0] * 7, 1))]


def geotiff(folder: Path, name: str, tags: list[tuple], keys: dict[int, int]) -> LabeledImage:
    rows = [1, 1, 0, len(keys), *(v for key, value in keys.items() for v in (key, 0, 1, value))]
    directory = [(34735, "H", len(rows), rows)] if keys else []
    path = folder / name
    tifffile.imwrite(path, np.full((6, 8), 100, np.uint8), extratags=tags + directory)
    return LabeledImage(name, str(path), 6, 8, [ObjectMask(0, 0.5, (1, 2), RING)])


def written(folder: Path, *images: LabeledImage) -> list[dict]:
    """The features of the images' files."""
    writer = WRITERS["geojson"](folder / "out", ["tree"])
    for image in images:
        writer.add(image)
    writer.close()
    files = [(folder / "out/geojson" / i.file_name).with_suffix(".geojson") for i in images]
    return [feature for file in files for feature in json.loads(file.read_text())["features"]]


def test_utm_becomes_longitude_and_latitude(tmp_path):
    """Two pixels of half a meter; by Krüger's series to the sixth order (Karney 2011)."""
    image = geotiff(tmp_path, "a.tif", scale_and_tie(0.5, 400_000, 5_600_000), UTM_33)
    image.objects[:] = [ObjectMask(0, 0.5, (0, 0), np.ones((1, 2), bool))]
    (feature,) = written(tmp_path, image)
    assert feature["properties"]["unit"] == "degrees"
    corners = [
        (13.588661229626, 50.543379554743),  # (400000, 5600000)
        (13.588661363821, 50.543375059504),  # (400000, 5599999.5)
        (13.588675472648, 50.543375230527),  # (400001, 5599999.5)
        (13.588675338455, 50.543379725766),  # (400001, 5600000)
    ]
    (ring,) = feature["geometry"]["coordinates"]
    start = int(np.argmin(np.abs(np.array(ring) - corners[0]).sum(1)))
    turned = [*ring[:-1][start:], *ring[:-1][:start]]
    assert np.abs(np.array(turned) - corners).max() < 1e-9
    assert ring[0] == ring[-1]


@pytest.mark.parametrize(
    ("tags", "keys", "around", "hole"),
    [
        (scale_and_tie(0.25, 10, 50), GEOGRAPHIC,
         box(10.5, 49, 11.25, 49.75), box(10.75, 49.25, 11, 49.5)),
        # the *middle* of pixel (0, 0) lies at (10.125, 49.875)
        (scale_and_tie(0.25, 10.125, 49.875), {**GEOGRAPHIC, 1025: 2},
         box(10.5, 49, 11.25, 49.75), box(10.75, 49.25, 11, 49.5)),
        # a quarter turn: longitude = 10 + row, latitude = 50 - column
        (affine(0, 1, 10, -1, 0, 50), GEOGRAPHIC, box(11, 45, 14, 48), box(12, 46, 13, 47)),
        # an eighth: longitude = 10 + column + row, latitude = 50 + column - row
        (affine(1, 1, 10, 1, -1, 50), GEOGRAPHIC,
         Polygon([(13, 51), (16, 54), (19, 51), (16, 48)]),
         Polygon([(15, 51), (16, 52), (17, 51), (16, 50)])),
        # south at the top, where nothing is mirrored
        (affine(1, 0, 10, 0, 1, 50), GEOGRAPHIC, box(12, 51, 15, 54), box(13, 52, 14, 53)),
    ],
)  # fmt: skip
def test_any_affine(tmp_path, tags, keys, around, hole):
    (feature,) = written(tmp_path, geotiff(tmp_path, "a.tif", tags, keys))
    assert feature["geometry"]["type"] == "Polygon"
    found = shape(feature["geometry"])
    assert found.equals(around - hole)
    assert found.exterior.is_ccw
    assert not found.interiors[0].is_ccw


def test_an_object_in_parts(tmp_path):
    image = geotiff(tmp_path, "a.tif", scale_and_tie(1, 10, 50), GEOGRAPHIC)
    image.objects[:] = [ObjectMask(0, 0.5, (0, 0), APART)]
    (feature,) = written(tmp_path, image)
    parts = MultiPolygon([box(10, 49, 11, 50), box(11, 48, 12, 49)])
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert shape(feature["geometry"]).equals(parts)


def in_pixels(feature: dict) -> bool:
    place = shape(feature["geometry"]).equals(box(2, 1, 5, 4) - box(3, 2, 4, 3))
    return place and feature["properties"]["unit"] == "pixels"


@pytest.mark.parametrize(
    ("tags", "keys", "reason"),
    [
        (scale_and_tie(1, 10, 50), {}, "no coordinate system, or has control points alone"),
        ([(33922, "d", 18, (0, 0, 0, 10, 50, 0, 8, 0, 0, 18, 50, 0, 0, 6, 0, 10, 44, 0))],
         GEOGRAPHIC, "no coordinate system, or has control points alone"),
        ([*scale_and_tie(1, 10, 50), (274, "H", 1, 3)], GEOGRAPHIC, "orientation tag"),
        (scale_and_tie(1, 10, 50), LOCAL, "Cannot find coordinate operations"),
        (scale_and_tie(1, 1e15, 1e15), UTM_33, "outside of projection domain"),
    ],
)  # fmt: skip
def test_what_cannot_be_placed_stays_in_pixels(tmp_path, caplog, tags, keys, reason):
    image = geotiff(tmp_path, "a.tif", tags, keys)
    (feature,) = written(tmp_path, image)
    assert in_pixels(feature)
    (line,) = caplog.messages
    assert line.startswith(f"{image.image_path}: GeoJSON is in pixels: ")
    assert reason in line
    assert len(line.splitlines()) == 1


def test_without_rasterio_a_line_a_run_says_what_to_install(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    place = scale_and_tie(1, 10, 50)
    images = [geotiff(tmp_path, name, place, GEOGRAPHIC) for name in ("a.tif", "b.tif")]
    assert [in_pixels(feature) for feature in written(tmp_path, *images)] == [True, True]
    assert caplog.messages == [NO_RASTERIO]
    assert 'pip install "bestie_d2[geo]"' in NO_RASTERIO


def test_other_pictures_are_in_pixels_and_nothing_is_said(tmp_path, caplog):
    plain = geotiff(tmp_path, "a.tif", [], {})
    in_memory = LabeledImage("b.png", "", 6, 8, plain.objects)
    assert [in_pixels(feature) for feature in written(tmp_path, plain, in_memory)] == [True, True]
    assert caplog.messages == []
