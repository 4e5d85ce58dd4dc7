"""GeoJSON as QuPath reads it: x and y in pixels of the whole picture, y down, origin at its corner;
of a GeoTIFF as maps have it, in degrees.

Definitions: RFC 7946 (FeatureCollection, Polygon, MultiPolygon, rings closed, holes as further
rings), https://qupath.readthedocs.io "Exporting annotations" (units and origin), and the keys that
QuPath's ``QuPathTypeAdapters.java`` looks for in ``properties``.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from bestie_d2.pictures.overlays import class_color
from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.georeference import Placing, UnplacedError, placing_of
from bestie_d2.writers.outlines import Ring, split_where_it_touches, trace_parts
from bestie_d2.writers.writer import Writer, rounded

logger = logging.getLogger(__name__)


class GeoJsonWriter(Writer):
    """``geojson/<name>.geojson``, exact for any mask. Objects are annotations, which can be edited
    in QuPath; their score is among the measurements. GeoTIFFs that stay in pixels all the same are
    told of at the end."""

    format_name = "geojson"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unplaced: dict[str, None] = {}  # lines, each once

    def write(self, image: LabeledImage) -> None:
        try:
            self._write(image, placing_of(image.image_path))
        except UnplacedError as error:
            self._unplaced[str(error)] = None
            self._write(image, None)

    def close(self) -> None:
        for line in self._unplaced:
            logger.warning(line)

    def _write(self, image: LabeledImage, place: Placing | None) -> None:
        with replacing(self.path_of(image, ".geojson")) as file:
            file.write('{"type": "FeatureCollection", "features": [')
            between = "\n"
            for found in image.objects:
                file.write(between + json.dumps(self._feature(found, place)))
                between = ",\n"
            file.write("\n]}\n")

    def _feature(self, found: ObjectMask, place: Placing | None) -> dict:
        name, score = self.class_names[found.class_id], rounded(found.score)
        geometry = geometry_of(found)
        return {
            "type": "Feature",
            "geometry": place(geometry) if place else geometry,
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": list(class_color(found.class_id))},
                "measurements": [{"name": "score", "value": score}],
                "class": name,
                "score": score,
                "unit": "degrees" if place else "pixels",
            },
        }


def geometry_of(found: ObjectMask) -> dict:
    """A valid Polygon, or a MultiPolygon of an object in parts."""
    polygons = []
    for around, *holes in trace_parts(found.mask, found.top_left):
        rings = [*split_where_it_touches(around)]
        rings += [ring for hole in holes for ring in split_where_it_touches(hole)]
        polygons.append([_closed(ring) for ring in rings])
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: Ring) -> list[list[int]]:
    points = ring.tolist()
    return [*points, points[0]]
