"""GeoJSON as QuPath reads it: x and y in pixels of the whole picture, y down, origin at its corner.

Definitions: RFC 7946 (FeatureCollection, Polygon, MultiPolygon, rings closed, holes as further
rings), https://qupath.readthedocs.io "Exporting annotations" (units and origin), and the keys that
QuPath's ``QuPathTypeAdapters.java`` looks for in ``properties``.
"""

from __future__ import annotations

import json

from bestie_d2.pictures.overlays import class_color
from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.outlines import Ring, split_where_it_touches, trace_parts
from bestie_d2.writers.writer import Writer, rounded


class GeoJsonWriter(Writer):
    """``geojson/<name>.geojson``, exact for any mask. Objects are annotations, which can be edited
    in QuPath; their score is among the measurements."""

    format_name = "geojson"

    def write(self, image: LabeledImage) -> None:
        with replacing(self.path_of(image, ".geojson")) as file:
            file.write('{"type": "FeatureCollection", "features": [')
            between = "\n"
            for found in image.objects:
                file.write(between + json.dumps(self._feature(found)))
                between = ",\n"
            file.write("\n]}\n")

    def _feature(self, found: ObjectMask) -> dict:
        name, score = self.class_names[found.class_id], rounded(found.score)
        return {
            "type": "Feature",
            "geometry": geometry_of(found),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": list(class_color(found.class_id))},
                "measurements": [{"name": "score", "value": score}],
                "class": name,
                "score": score,
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
