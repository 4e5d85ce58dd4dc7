"""Pictures that are stored turned or mirrored, with an EXIF entry that says how to show them."""

from __future__ import annotations

import numpy as np
from PIL import Image

EXIF_ORIENTATION = 274  # the entry's number, in TIFF as in EXIF
UNTURNED = 1  # its value, one of ...
ORIENTATIONS = range(1, 9)
# What the others ask for: to exchange rows and columns, then to mirror left-right, top-bottom.
SIDEWAYS, MIRRORED, OVERTURNED = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)


def orientation_of(image: Image.Image) -> int:
    """What is still to be done to an image that Pillow has opened, or loaded."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, UNTURNED)
    except Exception:  # an EXIF block that is none is passed over, as Detectron2 does
        return UNTURNED
    return orientation if orientation in ORIENTATIONS else UNTURNED


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) pixels the way that an EXIF orientation says they are shown."""
    if orientation == UNTURNED:
        return pixels
    if orientation in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in MIRRORED:
        pixels = pixels[:, ::-1]
    if orientation in OVERTURNED:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
