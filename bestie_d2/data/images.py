"""The one reader of images: training, evaluation, labeling and pictures see the same pixels.

An image is turned as its EXIF entry says, has one page, 8 bits (deeper ones are scaled, see
:class:`Intensity`) and no transparency (that is put on white). Everything else is refused in one
line that names the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError
from skimage.color import rgb2gray

from bestie_d2.data.deep_images import (
    EXIF_ORIENTATION,
    ORIENTATIONS,
    SIDEWAYS,
    TIFF_SIGNATURES,
    UNTURNED,
    WHITE,
    DeepValues,
    Intensity,
    nearly_black,
    read_deep_png,
    read_deep_tiff,
    read_tiff_head,
    refuse_pages,
)
from bestie_d2.data.names import missing
from bestie_d2.errors import InputError

Size = tuple[int, int]  # (height, width)
UNREADABLE = "unreadable"  # of a record: why its image cannot be opened

# In what ways an image may not be taken as it is stored.
TURNED = "turned"
ON_WHITE = "transparency"
FIRST_OF_SEVERAL = "first picture"
BLACK = "nearly black"
DEPTH = "depth "  # and which

MIRRORED, OVERTURNED = (2, 3, 6, 7), (3, 4, 7, 8)  # orientations: left-right, top-bottom
MANY_PICTURES = "MPO"  # Pillow's name of a phone's JPEG that carries further pictures
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH, DEEP_PNG = 24, 16  # where its head says how many bits a channel has; the deep one
HEAD = 32  # bytes that tell formats apart
DEEP_MODES = {"I": "32-bit", "F": "32-bit floating-point"}  # of Pillow
OPAQUE = 255


@dataclass(frozen=True)
class Picture:
    """An image that has been read, unturned.

    Attributes:
        image: of 8 bits, without transparency.
        orientation: what is left to be done, as in EXIF.
        scaled: (H, W) or (H, W, 3) float64 in 0..255 of a deeper one, before it was rounded.
        traits: in what it is not taken as it is stored.
    """

    image: Image.Image
    orientation: int = UNTURNED
    scaled: np.ndarray | None = None
    traits: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """As it is shown."""
        return _size_of(self.image, self.orientation)

    def pixels(self, image_format: str) -> np.ndarray:
        """(H, W, channels) uint8, such as "RGB" or "BGR"."""
        return self._turned(convert_PIL_to_numpy(self.image, image_format))

    def grey(self) -> np.ndarray:
        """(H, W) luminance, uint8 of a grey image, else float64; a deeper one's in full."""
        if self.scaled is not None:
            grey = self.scaled if self.scaled.ndim == 2 else rgb2gray(self.scaled / WHITE)
        elif self.image.mode in ("L", "1"):
            grey = np.asarray(self.image.convert("L"))
        else:
            grey = rgb2gray(np.asarray(self.image.convert("RGB")))
        return self._turned(grey)

    def _turned(self, pixels: np.ndarray) -> np.ndarray:
        if self.orientation == UNTURNED:
            return pixels
        if self.orientation in SIDEWAYS:
            pixels = pixels.swapaxes(0, 1)
        if self.orientation in MIRRORED:
            pixels = pixels[:, ::-1]
        if self.orientation in OVERTURNED:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class ImageReader:
    """Reads images. All of its methods raise an ``InputError`` that names the file, if it is
    missing or no image that can be taken.

    Attributes:
        image_format: of the channels, as Detectron2's ``INPUT.FORMAT``.
        intensity: how deeper images become 8 bit.
    """

    image_format: str = "RGB"
    intensity: Intensity = field(default_factory=Intensity)

    @classmethod
    def from_config(cls, cfg: CfgNode, image_format: str = "") -> ImageReader:
        """As a configuration says; in another format if one is given, such as for drawing."""
        return cls(image_format or cfg.INPUT.FORMAT, Intensity.from_config(cfg))

    def read(self, path: str) -> np.ndarray:
        """(H, W, channels) uint8."""
        return self.open(path).pixels(self.image_format)

    def read_grey(self, path: str) -> np.ndarray:
        """(H, W) luminance."""
        return self.open(path).grey()

    def read_of(self, record: Mapping) -> np.ndarray:
        """The image of a record; one of another size than the record says is refused."""
        return self.open_of(record).pixels(self.image_format)

    def open(self, path: str) -> Picture:
        """The image with what is to be told of it."""
        with _opened(path) as file:
            return _read(file, path, self.intensity)

    def open_of(self, record: Mapping) -> Picture:
        """:meth:`open`, for :meth:`read_of`."""
        picture = self.open(record["file_name"])
        height, width = picture.size
        stated = (record.get("height", height), record.get("width", width))
        if stated != (height, width):
            before = stated == (width, height) and TURNED in picture.traits
            raise InputError(
                f"image {record['file_name']}: {height}x{width} pixels (height x width), but its "
                f"annotation says {stated[0]}x{stated[1]}"
                + (", its size before it is turned by its EXIF entry" if before else "")
            )
        return picture


def image_size(path: str) -> Size:
    """Height and width as the reader gives the image, from its head alone.

    Raises:
        InputError: no such file, or no image that can be taken.
    """
    with _opened(path) as file:
        if file.read(HEAD).startswith(TIFF_SIGNATURES):
            return read_tiff_head(file, path).size
        file.seek(0)
        image = Image.open(file)
        _check_pages(image, path)
        return _size_of(image, _orientation_of(image))


def describe_traits(counts: Mapping[str, int], images: int, intensity: Intensity) -> list[str]:
    """A line for each way in which pictures are not taken as they are stored.

    Args:
        counts: pictures that have each of the traits.
        images: how many were read.
    """
    said: dict[str, str] = {
        TURNED: "turned by their EXIF entry: weak maps and points have to be in the frame of the "
        "turned picture",
        ON_WHITE: "transparent in places: they are put on white",
        FIRST_OF_SEVERAL: "the first of several in one file (MPO): the others are passed over",
        BLACK: "nearly black when scaled, as where a few bright pixels take the whole range: set "
        "INPUT.INTENSITY.PERCENTILES, such as (1.0, 99.8)",
    }
    lines = []
    for trait, count in counts.items():
        depth = trait.removeprefix(DEPTH)
        what = said.get(trait) or f"{depth}: they are scaled to 8 bits {intensity.describe()}"
        lines.append(f"{count} of {images} pictures are {what}")
    return lines


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """A file, while whatever goes wrong with it becomes one line that names it."""
    try:
        with PathManager.open(path, "rb") as file:
            yield file
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(missing("image", path)) from None
    except Exception as error:  # every decoder has errors of its kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "in no format that is known"
        raise InputError(f"image {path}: not a readable image ({reason})") from None


def _read(file: BinaryIO, path: str, intensity: Intensity) -> Picture:
    start = file.read(HEAD)
    if start.startswith(TIFF_SIGNATURES):
        head = read_tiff_head(file, path)
        if head.depth:
            values = read_deep_tiff(file, head)
            return _scaled(values, head.depth, head.orientation, path, intensity)
    file.seek(0)
    image: Image.Image = Image.open(file)
    _check_pages(image, path)
    orientation = _orientation_of(image)
    image.load()
    left = _orientation_of(image)  # Pillow turns a TIFF itself
    depth = _depth_of(image, start)
    if depth:
        values = _deep_values(image, file)
        return _scaled(values, depth, left, path, intensity)
    traits = [TURNED] * (orientation != UNTURNED)
    traits += [FIRST_OF_SEVERAL] * (image.format == MANY_PICTURES)
    if image.has_transparency_data:
        image, hidden = _on_white(image, path)
        traits += [ON_WHITE] * hidden
    return Picture(image, left, traits=tuple(traits))


def _scaled(
    values: DeepValues, depth: str, orientation: int, path: str, intensity: Intensity
) -> Picture:
    """A deep image as a picture."""
    if not np.isfinite(values.values).all():
        raise InputError(f"image {path}: has values that are no numbers (NaN or infinite)")
    traits = [TURNED] * (orientation != UNTURNED)
    if values.opacity is not None:
        _refuse_invisible(values.opacity.max(), path)
        traits += [ON_WHITE] * bool(values.opacity.min() < 1)
    scaled = intensity.scale(values)
    traits += [DEPTH + depth, *[BLACK] * nearly_black(scaled)]
    image = Image.fromarray(np.rint(scaled).astype(np.uint8))
    return Picture(image, orientation, scaled, tuple(traits))


def _depth_of(image: Image.Image, start: bytes) -> str:
    """Name of the depth of what Pillow has opened; "" for 8 bits."""
    if start.startswith(PNG_SIGNATURE) and start[PNG_DEPTH] == DEEP_PNG:
        return f"{DEEP_PNG}-bit"
    return DEEP_MODES.get(image.mode, f"{DEEP_PNG}-bit" * image.mode.startswith("I;"))


def _deep_values(image: Image.Image, file: BinaryIO) -> DeepValues:
    if image.format != "PNG":
        return DeepValues(np.array(image))
    grey = image.mode in DEEP_MODES or image.mode.startswith("I;")
    return read_deep_png(file, image.info.get("transparency") if grey else None)


def _on_white(image: Image.Image, path: str) -> tuple[Image.Image, bool]:
    """An 8-bit image without its transparency, and whether any of it was to be seen through."""
    straight = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
    opacity = np.asarray(straight.getchannel("A"))
    _refuse_invisible(opacity.max(), path)
    if opacity.min() == OPAQUE:
        return image, False
    white = Image.new("RGBA", straight.size, "white")
    return Image.alpha_composite(white, straight).convert("RGB"), True


def _refuse_invisible(largest_opacity: float, path: str) -> None:
    if not largest_opacity:
        raise InputError(
            f"image {path}: is transparent all over, so nothing of it can be seen; save it without "
            "transparency"
        )


def _check_pages(image: Image.Image, path: str) -> None:
    """Refuse animations; a TIFF's pages are looked at where its head is read."""
    if image.format not in (MANY_PICTURES, "TIFF"):
        refuse_pages(path, getattr(image, "n_frames", 1))


def _orientation_of(image: Image.Image) -> int:
    """What is still to be done to an image that Pillow has opened, or loaded."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, UNTURNED)
    except Exception:  # an EXIF block that is none is passed over, as Detectron2 does
        return UNTURNED
    return orientation if orientation in ORIENTATIONS else UNTURNED


def _size_of(image: Image.Image, orientation: int) -> Size:
    width, height = image.size
    return (width, height) if orientation in SIDEWAYS else (height, width)
