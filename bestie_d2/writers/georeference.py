"""Where on the earth the pixels of a GeoTIFF lie, by rasterio, which is optional.

Definitions: OGC GeoTIFF 1.1 (which tags say it; the affine maps the corners of pixels, as outlines
have them), RFC 7946 section 4 (degrees of WGS 84, longitude before latitude) and section 3.1.6
(rings around an object turn counterclockwise as one looks at a map, those around holes clockwise).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np
from tifffile import TiffFile, TiffFileError

from bestie_d2.data.deep_images import UNTURNED, tiff_orientation

GEO_TAGS = (33550, 33922, 34264)  # size of pixels, tie points, affine
WGS_84 = "EPSG:4326"  # rasterio puts x before y, whatever order a coordinate system has
DECIMALS = 9  # of degrees: 0.1 mm on the ground
REASON = 120  # characters of an error that are told: some quote whole coordinate systems
NO_RASTERIO = (
    "GeoJSON of GeoTIFFs is in pixels; for degrees of longitude and latitude: "
    'pip install "bestie_d2[geo]"'
)

Placing = Callable[[dict], dict]  # a geometry of GeoJSON in pixels -> the same in degrees


class UnplacedError(Exception):
    """Why a picture that says where it lies cannot be followed, as a line for the user."""


def placing_of(path: str) -> Placing | None:
    """What puts outlines in a picture on the earth; None if it is no GeoTIFF.

    Raises:
        UnplacedError: it is one whose georeference cannot be used; so may what is returned.
    """
    try:
        with TiffFile(path) as tiff:
            page = tiff.pages.first
            if not any(tag in page.tags for tag in GEO_TAGS):
                return None
            orientation = tiff_orientation(page)
    except (OSError, TiffFileError):  # another format, or a picture that is in memory alone
        return None
    try:
        import rasterio
        from rasterio.warp import transform_geom
    except ImportError:
        raise UnplacedError(NO_RASTERIO) from None
    if orientation != UNTURNED:
        raise _unplaced(path, "it is turned by its orientation tag")
    try:
        with rasterio.open(path) as picture:
            crs, affine = picture.crs, np.reshape(picture.transform[:6], (2, 3))
    except Exception as error:  # GDAL's errors have no public class in common
        raise _unplaced(path, str(error)) from None
    if crs is None:
        raise _unplaced(path, "it names no coordinate system, or has control points alone")

    def place(geometry: dict) -> dict:
        on_map = {**geometry, "coordinates": _through(affine, geometry["coordinates"])}
        try:
            return transform_geom(crs, WGS_84, on_map, precision=DECIMALS)
        except Exception as error:
            raise _unplaced(path, str(error)) from None

    return place


def _through(affine: np.ndarray, part: list) -> list:
    """A ring, or lists of rings, in the file's coordinate system; an affine that mirrors, as that
    of a picture with north at the top does, would turn rings the other way round."""
    if isinstance(part[0][0], list):
        return [_through(affine, inner) for inner in part]
    ring = np.asarray(part) @ affine[:, :2].T + affine[:, 2]
    return (ring[::-1] if np.linalg.det(affine[:, :2]) < 0 else ring).tolist()


def _unplaced(path: str, reason: str) -> UnplacedError:
    return UnplacedError(f"{path}: GeoJSON is in pixels: {textwrap.shorten(reason, REASON)}")
