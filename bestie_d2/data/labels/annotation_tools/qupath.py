"""QuPath: GeoJSON, a file an image that is called like it.

Coordinates are pixels of the full-resolution image from its outer corner, not rounded (QuPath,
``PointsToolEventHandler``: no snapping; an image's first pixel covers 0 to 1). A ``MultiPoint``
holds several points of one class. A class may have several ``names``, which QuPath joins by ": "
(``GsonTools.PathClassTypeAdapter``); objects without one are unclassified.
"""

from __future__ import annotations

from collections.abc import Mapping

from bestie_d2.data.labels.annotation_tools.exports import (
    CORNER,
    POINT,
    POLYGON,
    Document,
    Export,
    Format,
    Shape,
    as_label,
)


def claims(document: Document) -> bool:
    content = document.content
    if isinstance(content, Mapping):
        return content.get("type") in ("FeatureCollection", "Feature")
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(entry, Mapping) and entry.get("type") == "Feature" for entry in content)
    )


def read(document: Document, export: Export) -> None:
    content = document.content
    features = content if isinstance(content, list) else [content]
    if isinstance(content, Mapping) and content["type"] == "FeatureCollection":
        features = document.items(content.get("features"), "'features'")
    image = document.image()
    for number, feature in enumerate(features):
        where = f"features[{number}]"
        feature = document.members(feature, where)
        if feature.get("geometry") is None:
            export.leave_out("features without a geometry")
            continue
        geometry = document.members(feature["geometry"], f"{where}, 'geometry'")
        label = _class(document.members(feature.get("properties") or {}, f"{where}, 'properties'"))
        kind, places = geometry.get("type"), geometry.get("coordinates")
        if kind in ("Point", "MultiPoint"):
            places = [places] if kind == "Point" else document.items(places, where)
            for x, y in (document.pair(place, where) for place in places):
                image.shapes.append(Shape(POINT, label, x - CORNER, y - CORNER))
        else:
            image.shapes.append(Shape(str(kind).removeprefix("Multi").lower() or POLYGON, label))
    export.images.append(image)


def _class(properties: Mapping) -> str | None:
    given = properties.get("classification")
    if isinstance(given, Mapping):
        names = given.get("names") or [given.get("name")]
        given = ": ".join(filter(None, map(as_label, names if isinstance(names, list) else ())))
    return as_label(given)


QUPATH = Format("qupath", "QuPath GeoJSON", claims, read)
