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

from bestie_d2.data import deep_images as deep
from bestie_d2.data.deep_images import UNTURNED, WHITE, DeepImage, Intensity
from bestie_d2.data.names import missing
from bestie_d2.errors import InputError

Size = tuple[int, int]  # (height, width)
UNREADABLE = "unreadable"  # of a record: why its image cannot be opened

# In what ways a picture may not be taken as it is stored.
TURNED = (
    "turned by their EXIF entry: weak maps and points have to be in the frame of the turned picture"
)
ON_WHITE = "transparent in places: they are put on white"
FIRST_OF_SEVERAL = "the first of several in one file (MPO): the others are passed over"
BLACK = (
    "nearly black when scaled, as where a few bright pixels take the whole range: set "
    "INPUT.INTENSITY.PERCENTILES, such as (1.0, 99.8)"
)
DEPTH = "{}: they are scaled to 8 bits {}"  # which, and the rule

SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange rows and columns, before they mirror
MIRRORED, OVERTURNED = (2, 3, 6, 7), (3, 4, 7, 8)  # those that do so left-right, top-bottom
MANY_PICTURES = "MPO"  # Pillow's name of a phone's JPEG that carries further pictures
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24  # where its head says how many bits a channel has
HEAD = 32  # bytes that tell formats apart
DEEP_MODES = {"I": "32-bit", "F": "32-bit floating-point"}  # of Pillow
BAND = 1024  # rows of a large image that are taken over at once
DARK = 16  # of 0..255: hardly to be told from black


@dataclass(frozen=True)
class Picture:
    """An image as it is shown.

    Attributes:
        values: (H, W) grey or (H, W, 3) RGB, uint8; float64 in 0..255 of a deeper image.
        traits: in what it is not taken as it is stored.
    """

    values: np.ndarray
    traits: tuple[str, ...] = ()

    def pixels(self, image_format: str) -> np.ndarray:
        """(H, W, channels) uint8, such as "RGB" or "BGR"."""
        deeper = self.values.dtype != np.uint8
        values = np.rint(self.values).astype(np.uint8) if deeper else self.values
        if values.ndim == 3 and image_format in ("RGB", "BGR"):  # without Pillow's copies
            return values if image_format == "RGB" else values[..., ::-1]
        return convert_PIL_to_numpy(Image.fromarray(values), image_format)

    def grey(self) -> np.ndarray:
        """(H, W) luminance, uint8 of a grey image, else float64; a deeper one's in full."""
        if self.values.ndim == 2:
            return self.values
        return rgb2gray(self.values if self.values.dtype == np.uint8 else self.values / WHITE)


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

    def take(self, image: Image.Image | np.ndarray, array_format: str = "RGB") -> Picture:
        """An image in memory as one in a file: of Pillow, or an array (H, W) grey, (H, W, 3) of
        ``array_format``, "RGB" or "BGR", or (H, W, 4) with opacity, of any type of numbers."""
        if isinstance(image, np.ndarray):
            return _of_array(image, array_format, self.intensity)
        return _decoded(image, "in memory", self.intensity)

    def open_of(self, record: Mapping) -> Picture:
        """:meth:`open`, for :meth:`read_of`."""
        picture = self.open(record["file_name"])
        height, width = picture.values.shape[:2]
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
    """Height and width as the reader gives the image, from its head alone; raises as it does."""
    height, width, orientation = _head(path)
    return (width, height) if orientation in SIDEWAYS else (height, width)


def image_orientation(path: str) -> int:
    """What its EXIF entry says of the image's turn, 1 to 8; raises as :func:`image_size`."""
    return _head(path)[2]


def _head(path: str) -> tuple[int, int, int]:
    """Height and width as they are stored, and the orientation."""
    with _opened(path) as file:
        if file.read(HEAD).startswith(deep.TIFF_SIGNATURES):
            with deep.tiff_page(file, path) as page:
                height, width = page.imagelength, page.imagewidth
                orientation = deep.tiff_orientation(page)
        else:
            image = _open_one(file, path)
            (width, height), orientation = image.size, _orientation_of(image)
        return height, width, orientation


def describe_traits(counts: Mapping[str, int], images: int) -> list[str]:
    """A line for each of the traits that ``counts`` of ``images`` pictures have."""
    return [f"{count} of {images} pictures are {trait}" for trait, count in counts.items()]


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
    if start.startswith(deep.TIFF_SIGNATURES):
        with deep.tiff_page(file, path) as page:
            stored = deep.read_deep_tiff(page)
            if stored:
                return _scaled(stored, path, intensity)
    return _decoded(_open_one(file, path), path, intensity, start, file)


def _of_array(values: np.ndarray, array_format: str, intensity: Intensity) -> Picture:
    channels = 1 if values.ndim == 2 else values.shape[-1]
    if values.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in values.shape:
        shape = "x".join(map(str, values.shape))
        raise InputError(f"image: an array of {shape}, expected (H, W), (H, W, 3) or (H, W, 4)")
    if values.dtype.kind not in "uif":
        raise InputError(f"image: an array of {values.dtype}, expected numbers such as uint8")
    if channels == 1:
        values = values.reshape(values.shape[:2])
    elif array_format == "BGR":
        values = values[..., [2, 1, 0, 3][:channels]]
    if values.dtype == np.uint8:
        if channels == 4:
            return _decoded(Image.fromarray(values), "in memory", intensity)
        return Picture(np.ascontiguousarray(values))
    opacity = None
    if channels == 4:
        largest = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1.0
        values, opacity = values[..., :3], (values[..., 3] / largest).clip(0, 1)
    return _scaled(DeepImage(values, str(values.dtype), opacity), "in memory", intensity)


def _decoded(
    image: Image.Image,
    path: str,
    intensity: Intensity,
    start: bytes = b"",
    file: BinaryIO | None = None,
) -> Picture:
    """What Pillow has opened, and the file where there is one, with its first bytes."""
    orientation = _orientation_of(image)
    image.load()
    left = _orientation_of(image)  # Pillow turns a TIFF itself
    stored = _deep_image(image, start, file, left)
    if stored:
        return _scaled(stored, path, intensity)
    traits = [TURNED] * (orientation != UNTURNED)
    traits += [FIRST_OF_SEVERAL] * (image.format == MANY_PICTURES)
    if image.has_transparency_data:
        straight = image.convert("LA") if image.mode == "La" else image
        alpha = straight.convert("RGBA")
        opacity = np.asarray(alpha.getchannel("A"))
        _refuse_invisible(opacity, path)
        if opacity.min() < WHITE:
            image = Image.alpha_composite(Image.new("RGBA", alpha.size, "white"), alpha)
            traits.append(ON_WHITE)
    mode = "L" if image.mode in ("L", "1") else "RGB"
    values = _array_of(image if image.mode == mode else image.convert(mode))
    return Picture(_turned(values, left), tuple(traits))


def _array_of(image: Image.Image) -> np.ndarray:
    """The pixels of a grey or RGB image, band by band: of a whole one Pillow makes three copies."""
    if image.height <= BAND:
        return np.asarray(image)
    channels = image.getbands()
    values = np.empty((image.height, image.width, len(channels)), np.uint8)
    for top in range(0, image.height, BAND):
        bottom = min(top + BAND, image.height)
        band = np.asarray(image.crop((0, top, image.width, bottom)))
        values[top:bottom] = band.reshape(-1, image.width, len(channels))
    return values if len(channels) > 1 else values[..., 0]


def _deep_image(
    image: Image.Image, start: bytes, file: BinaryIO | None, left: int
) -> DeepImage | None:
    """What Pillow has opened, if it has more than 8 bits."""
    png = start.startswith(PNG_SIGNATURE)
    grey = image.mode in DEEP_MODES or image.mode.startswith("I;")
    if file and png and start[PNG_DEPTH] == 16:
        values, opacity = deep.read_deep_png(file, image.info.get("transparency") if grey else None)
        return DeepImage(values, "16-bit", opacity, left)
    depth = DEEP_MODES.get(image.mode, "16-bit")
    return DeepImage(np.array(image), depth, orientation=left) if grey else None


def _scaled(stored: DeepImage, path: str, intensity: Intensity) -> Picture:
    if not np.isfinite(stored.values).all():
        raise InputError(f"image {path}: has values that are no numbers (NaN or infinite)")
    traits = [TURNED] * (stored.orientation != UNTURNED)
    if stored.opacity is not None:
        _refuse_invisible(stored.opacity, path)
        traits += [ON_WHITE] * bool(stored.opacity.min() < 1)
    scaled = intensity.scale(stored)
    traits.append(DEPTH.format(stored.depth, intensity.describe()))
    # As where a few bright pixels take the whole range.
    traits += [BLACK] * bool(scaled.max() > DARK and np.percentile(scaled, 99) < DARK)
    return Picture(_turned(scaled, stored.orientation), tuple(traits))


def _refuse_invisible(opacity: np.ndarray, path: str) -> None:
    if not opacity.any():
        raise InputError(
            f"image {path}: is transparent all over, so nothing of it can be seen; save it without "
            "transparency"
        )


def _turned(values: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in SIDEWAYS:
        values = values.swapaxes(0, 1)
    if orientation in MIRRORED:
        values = values[:, ::-1]
    if orientation in OVERTURNED:
        values = values[::-1]
    return np.ascontiguousarray(values)


def _open_one(file: BinaryIO, path: str) -> Image.Image:
    """By Pillow; a TIFF's pages are looked at where its head is read."""
    file.seek(0)
    image: Image.Image = Image.open(file)
    if image.format not in (MANY_PICTURES, "TIFF"):
        deep.refuse_pages(path, getattr(image, "n_frames", 1))
    return image


def _orientation_of(image: Image.Image) -> int:
    """What is still to be done to an image that Pillow has opened, or loaded."""
    try:
        return deep.valid_orientation(image.getexif().get(deep.EXIF_ORIENTATION))
    except Exception:  # an EXIF block that is none is passed over, as Detectron2 does
        return UNTURNED
