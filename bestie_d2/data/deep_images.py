"""Images of more than 8 bits: their values in full, and how they become 0 to 255.

Pillow drops the lower half of 16-bit RGB, clips 16-bit grey and floats to 0..255 when it converts
them, and cannot open many TIFFs; the values are therefore read by tifffile and OpenCV.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import BinaryIO

import cv2
import numpy as np
from detectron2.config import CfgNode
from PIL import Image
from tifffile import TiffFile, TiffPage

from bestie_d2.errors import InputError

WHITE = 255.0
# Percentiles: from the smallest to the largest value, but for one pixel in a thousand at each end,
# lest a few hot pixels make everything else black. Below a thousand pixels none is left out.
IMAGE_RANGE = (0.1, 99.9)

EXIF_ORIENTATION, UNTURNED = 274, 1  # the entry's number, in TIFF as in EXIF; one of its values
PNG_CHUNKS, PNG_AROUND_CHUNK = 8, 12  # where they begin; length, kind and checksum
PNG_SIZE = 16  # where its head says width and height, then bits of a channel and kind of colors
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by that kind
MOST_OF_A_BYTE = 1032  # bytes that deflate makes one of (zlib's technical details)
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
INVERTED, GREY, RGB = 0, 1, 2  # "photometric interpretation"; inverted: white is zero
COLORS = {INVERTED: 1, GREY: 1, RGB: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # channels of each
SAMPLE_FORMATS = {2: " signed", 3: " floating-point"}  # beside unsigned
ALPHA = PREMULTIPLIED, STRAIGHT = 1, 2  # transparency, by the kind of the first "extra sample"


@dataclass(frozen=True)
class DeepImage:
    """An image as it is stored, unturned.

    Attributes:
        values: (H, W) or (H, W, 3) RGB, of any number type.
        depth: such as "16-bit".
        opacity: (H, W) in 0..1; None without transparency.
        orientation: 1 to 8, as in EXIF.
        inverted: the smallest value is white.
    """

    values: np.ndarray
    depth: str
    opacity: np.ndarray | None = None
    orientation: int = UNTURNED
    inverted: bool = False


@dataclass(frozen=True)
class Intensity:
    """Which values become black and white: a fixed range, or percentiles of each image's values.

    Attributes:
        percentiles: lower and upper one, in percent, each a value that occurs; (0, 100) is from the
            smallest to the largest. Where both are one value, that range is taken.
        fixed_range: the two values themselves, if given.
    """

    percentiles: tuple[float, ...] = IMAGE_RANGE
    fixed_range: tuple[float, ...] = ()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Intensity:
        node = cfg.INPUT.INTENSITY
        return cls(tuple(node.PERCENTILES), tuple(node.RANGE))

    def __post_init__(self) -> None:
        low_high = self.percentiles
        if not _rises(low_high) or not (low_high[0] >= 0 and low_high[1] <= 100):
            raise InputError(
                f"INPUT.INTENSITY.PERCENTILES is {low_high}, expected (lower, upper) in 0 to 100, "
                "such as (1.0, 99.8)"
            )
        if self.fixed_range and not _rises(self.fixed_range):
            raise InputError(
                f"INPUT.INTENSITY.RANGE is {self.fixed_range}, expected (lower, upper), such as "
                "(0, 4095), or () for each image's own"
            )

    def describe(self) -> str:
        """The rule in words."""
        if self.fixed_range:
            return "from {:g} to {:g} (INPUT.INTENSITY.RANGE)".format(*self.fixed_range)
        return (
            "by the range of each picture's own values, percentiles {:g} to {:g} "
            "(INPUT.INTENSITY.PERCENTILES; .RANGE for a fixed one)".format(*self.percentiles)
        )

    def scale(self, image: DeepImage) -> np.ndarray:
        """(H, W) or (H, W, 3) float64 in 0..255, transparency put on white; 0 all over for an
        image of one value. Hidden values count for nothing."""
        stored, opacity = image.values, image.opacity
        low, high = self._limits(stored if opacity is None else stored[opacity > 0])
        if low < high:
            scaled = stored.astype(np.float64)  # in place from here on: an image may be large
            scaled -= low
            scaled /= high - low
            scaled *= WHITE
            np.clip(scaled, 0, WHITE, out=scaled)
            if image.inverted:
                np.subtract(WHITE, scaled, out=scaled)
        else:
            scaled = np.zeros(stored.shape)
        if opacity is None:
            return scaled
        share = opacity if scaled.ndim == 2 else opacity[..., None]
        return scaled * share + WHITE * (1 - share)

    def _limits(self, values: np.ndarray) -> tuple[float, float]:
        """The values that become 0 and 255."""
        if self.fixed_range:
            return self.fixed_range[0], self.fixed_range[1]
        low = float(np.percentile(values, self.percentiles[0], method="lower"))
        high = float(np.percentile(values, self.percentiles[1], method="higher"))
        return (low, high) if low < high else (float(values.min()), float(values.max()))


def _rises(values: tuple) -> bool:
    """Whether they are two numbers, the lower one first."""
    return len(values) == 2 and all(isinstance(v, Real) for v in values) and values[0] < values[1]


def read_deep_png(file: BinaryIO, key: int | tuple | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and opacity of a 16-bit PNG, as in :class:`DeepImage`.

    Args:
        key: the value that is transparent, if it is grey and has one.
    """
    file.seek(0)
    data = file.read()
    _refuse_hollow(data)
    found = _decoded_by_opencv(data)
    if found is None:
        raise ValueError("it cannot be decoded")
    if found.ndim == 2:
        return found, None if key is None else (found != key).astype(np.float64)
    largest = np.iinfo(np.uint16).max
    return found[..., :3], found[..., 3] / largest if found.shape[-1] > 3 else None


def _refuse_hollow(data: bytes) -> None:
    """Refuse a PNG that says it is larger than its data can be: decoders make room for it first."""
    width, height, depth, colors = struct.unpack_from(">IIBB", data, PNG_SIZE)
    if height * width * PNG_CHANNELS.get(colors, 1) * depth > 8 * MOST_OF_A_BYTE * len(data):
        raise ValueError(f"its {len(data)} bytes cannot hold {height}x{width} pixels")
    place, kind = PNG_CHUNKS, b""
    while kind != b"IEND":
        if place + PNG_AROUND_CHUNK > len(data):
            raise ValueError("it is cut")
        length, kind = struct.unpack_from(">I4s", data, place)
        place += length + PNG_AROUND_CHUNK


def refuse_pages(path: str, pages: int) -> None:
    """Refuse an image of more than one page."""
    if pages > 1:
        raise InputError(
            f"image {path}: holds {pages} pages, and one picture is expected; save the page that "
            "is wanted as a picture of its own"
        )


def valid_orientation(value: object) -> int:
    """1 to 8, whatever an EXIF entry holds."""
    return value if isinstance(value, int) and 1 <= value <= 8 else UNTURNED


def tiff_orientation(page: TiffPage) -> int:
    return valid_orientation(getattr(page.tags.get(EXIF_ORIENTATION), "value", None))


@contextmanager
def tiff_page(file: BinaryIO, path: str) -> Iterator[TiffPage]:
    """The page of a TIFF; one of several pages (smaller previews of the first one are no pages),
    or of channels that are not those of a picture, is refused."""
    file.seek(0)
    with TiffFile(file) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, TiffPage)  # only later ones are read as frames
        pages = len(tiff.pages)
        if not page.is_reduced:
            full = sum(not getattr(other, "is_reduced", False) for other in tiff.pages)
            # ImageJ writes large stacks behind one single head.
            stacked = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
            pages = max(full, int(stacked), page.imagedepth)
        refuse_pages(path, pages)
        _check_channels(page, path)
        yield page


def _check_channels(page: TiffPage, path: str) -> None:
    depth, photometric, channels = _depth(page), int(page.photometric), page.samplesperpixel
    real = page.dtype is not None and page.dtype.kind in "uif"
    if depth and not (real and photometric in (INVERTED, GREY, RGB)):
        raise InputError(
            f"image {path}: {depth} values that are neither grey nor RGB; save it as grey or RGB"
        )
    colors = COLORS.get(photometric, channels)
    extra = channels - colors
    if extra not in (0, 1) or (colors == extra == 1 and _alpha(page, 0) not in ALPHA):
        raise InputError(
            f"image {path}: {channels} channels, expected 1 (grey) or 3 that the file calls RGB, "
            "and transparency at most; save what is wanted as a picture of its own"
        )


def _depth(page: TiffPage) -> str:
    """Such as "16-bit"; "" for 8 bits or fewer."""
    kind = SAMPLE_FORMATS.get(int(page.sampleformat), "")
    return f"{page.bitspersample}-bit{kind}" if page.bitspersample > 8 or kind else ""


def _alpha(page: TiffPage, unsaid: int) -> int:
    return int(page.extrasamples[0]) if page.extrasamples else unsaid


def read_deep_tiff(page: TiffPage) -> DeepImage | None:
    """An image of more than 8 bits; None for another one, which Pillow reads."""
    depth, height, width = _depth(page), page.imagelength, page.imagewidth
    if not depth:
        return None
    if Image.MAX_IMAGE_PIXELS and height * width > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{height}x{width} pixels are too many")
    values, opacity, photometric = _tiff_samples(page), None, int(page.photometric)
    if values.ndim == 3:
        # Four channels of which nothing more is said are taken for RGBA, as Pillow does.
        samples, colors, alpha = values, COLORS[photometric], _alpha(page, STRAIGHT)
        values = samples[..., :colors]
        if samples.shape[-1] > colors and alpha in ALPHA:
            largest = np.iinfo(samples.dtype).max if samples.dtype.kind in "ui" else 1.0
            opacity = (samples[..., colors] / largest).clip(0, 1)
            if alpha == PREMULTIPLIED:
                share = opacity[..., None]
                values = np.divide(values, share, out=np.zeros(values.shape), where=share > 0)
        values = values[..., 0] if colors == 1 else values
    return DeepImage(values, depth, opacity, tiff_orientation(page), photometric == INVERTED)


def _tiff_samples(page: TiffPage) -> np.ndarray:
    """(H, W) or (H, W, samples)."""
    try:
        samples = page.asarray()
        return np.moveaxis(samples, 0, -1) if page.axes == "SYX" else samples
    except ValueError as error:  # a compression that tifffile alone does not know, such as LZW
        if "imagecodecs" not in str(error):
            raise
        refusal = ValueError(f"{error}; save it without compression")
    page.parent.filehandle.seek(0)
    content = bytearray(page.parent.filehandle.read())
    if EXIF_ORIENTATION in page.tags:  # OpenCV turns deep TIFFs wrongly
        start = page.tags[EXIF_ORIENTATION].valueoffset
        content[start : start + 2] = struct.pack(f"{page.parent.byteorder}H", UNTURNED)
    size = (page.imagelength, page.imagewidth)
    for decode in (_decoded_by_opencv, _decoded_by_pillow):
        found = decode(bytes(content))
        assert page.dtype is not None  # others have been refused
        if found is not None and found.shape[:2] == size and np.can_cast(page.dtype, found.dtype):
            return found
    raise refusal


def _decoded_by_opencv(content: bytes) -> np.ndarray | None:
    """(H, W), (H, W, 3) RGB or (H, W, 4) RGBA, without turning or scaling."""
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim == 2:
        return found
    return found[..., [2, 1, 0, 3][: found.shape[-1]]]


def _decoded_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)
