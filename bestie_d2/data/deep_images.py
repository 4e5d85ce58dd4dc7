"""Images of more than 8 bits, and the heads of TIFFs: their values in full, and how they become 0
to 255.

Pillow drops the lower half of 16-bit RGB, clips 16-bit grey and floats to 0..255 when it converts
them, and cannot open many TIFFs; the values are therefore read by tifffile and OpenCV.
"""

from __future__ import annotations

import io
import struct
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
DARK = 16  # of 0..255: hardly to be told from black
NEARLY_ALL = 99  # percent of the pixels
# Percentiles: from the smallest to the largest value, but for one pixel in a thousand at each end,
# lest a few hot pixels make everything else black. Below a thousand pixels none is left out.
IMAGE_RANGE = (0.1, 99.9)
PERCENT = 100.0
CHANNELS = 3  # red, green, blue
UNSIGNED_16 = np.iinfo(np.uint16).max

EXIF_ORIENTATION = 274  # the entry's number, in TIFF as in EXIF
UNTURNED, ORIENTATIONS = 1, range(1, 9)  # its values
SIDEWAYS = (5, 6, 7, 8)  # those that exchange rows and columns, before they mirror

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
INVERTED, GREY, RGB = 0, 1, 2  # "photometric interpretation"; inverted: white is zero
COLORS = {INVERTED: 1, GREY: 1, RGB: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # channels of each
SAMPLE_FORMATS = {2: " signed", 3: " floating-point"}  # beside unsigned
ALPHA = {1: "premultiplied", 2: "straight"}  # by the kind of the first "extra sample"
BYTE = 8  # bits
REAL = "uif"  # NumPy's kinds of numbers that are no complex ones


@dataclass(frozen=True)
class DeepValues:
    """An image as it is stored.

    Attributes:
        values: (H, W) or (H, W, 3) RGB, of any number type.
        opacity: (H, W) in 0..1; None without transparency.
        inverted: the smallest value is white.
    """

    values: np.ndarray
    opacity: np.ndarray | None = None
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
        if not _rises(low_high) or not (low_high[0] >= 0 and low_high[1] <= PERCENT):
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

    def limits(self, values: np.ndarray) -> tuple[float, float]:
        """The values that become 0 and 255."""
        if self.fixed_range:
            return self.fixed_range[0], self.fixed_range[1]
        low = float(np.percentile(values, self.percentiles[0], method="lower"))
        high = float(np.percentile(values, self.percentiles[1], method="higher"))
        return (low, high) if low < high else (float(values.min()), float(values.max()))

    def scale(self, image: DeepValues) -> np.ndarray:
        """(H, W) or (H, W, 3) float64 in 0..255, transparency put on white; 0 all over for an
        image of one value. Hidden values count for nothing."""
        values, opacity = image.values.astype(np.float64), image.opacity
        low, high = self.limits(values if opacity is None else values[opacity > 0])
        spread = (values - low) / (high - low) * WHITE if low < high else np.zeros(values.shape)
        scaled = spread.clip(0, WHITE)
        if image.inverted and low < high:
            scaled = WHITE - scaled
        if opacity is None:
            return scaled
        share = opacity if scaled.ndim == opacity.ndim else opacity[..., None]
        return scaled * share + WHITE * (1 - share)


def _rises(values: tuple) -> bool:
    """Whether they are two numbers, the lower one first."""
    return len(values) == 2 and all(isinstance(v, Real) for v in values) and values[0] < values[1]


def nearly_black(scaled: np.ndarray) -> bool:
    """Whether hardly anything is to be seen, as where a few bright pixels take the whole range."""
    return bool(scaled.max() > DARK and np.percentile(scaled, NEARLY_ALL) < DARK)


def read_deep_png(file: BinaryIO, key: int | tuple | None) -> DeepValues:
    """A 16-bit PNG.

    Args:
        key: the value that is transparent, if it is grey and has one.
    """
    file.seek(0)
    found = _decoded_by_opencv(file.read())
    if found is None:
        raise ValueError("it cannot be decoded")
    if found.ndim == 2:
        return DeepValues(found, None if key is None else (found != key).astype(np.float64))
    opacity = found[..., CHANNELS] / UNSIGNED_16 if found.shape[-1] > CHANNELS else None
    return DeepValues(found[..., :CHANNELS], opacity)


# -- TIFF: one page of grey or RGB


@dataclass(frozen=True)
class TiffHead:
    """The first page of a TIFF.

    Attributes:
        size: (height, width) as it is shown.
        orientation: 1 to 8, as in EXIF.
        depth: such as "16-bit"; "" if it has 8 bits or fewer, which Pillow reads.
        colors: channels that are no transparency, 1 or 3.
        alpha: "premultiplied", "straight", or "" for none.
        inverted: zero is white.
    """

    size: tuple[int, int]
    orientation: int
    depth: str
    colors: int
    alpha: str
    inverted: bool


def read_tiff_head(file: BinaryIO, path: str) -> TiffHead:
    """Look at a TIFF without reading its pixels.

    Raises:
        InputError: it has several pages (smaller previews of the first one are no pages), or
            channels that are not those of a picture; the line names ``path``.
    """
    file.seek(0)
    with TiffFile(file) as tiff:
        page = _first_page(tiff)
        refuse_pages(path, _count_pages(tiff, page))
        kind = SAMPLE_FORMATS.get(int(page.sampleformat), "")
        depth = f"{page.bitspersample}-bit{kind}" if page.bitspersample > BYTE or kind else ""
        _check_channels(page, path, depth)
        turned = page.tags.get(EXIF_ORIENTATION)
        orientation = turned.value if turned and turned.value in ORIENTATIONS else UNTURNED
        size = (page.imagelength, page.imagewidth)
        colors = COLORS.get(int(page.photometric), 1)
        extra = [int(kind) for kind in page.extrasamples]
        # Four channels of which nothing more is said are taken for RGBA, as Pillow does.
        alpha = ALPHA.get(extra[0], "") if extra else "straight"
        return TiffHead(
            size=size[::-1] if orientation in SIDEWAYS else size,
            orientation=orientation,
            depth=depth,
            colors=colors,
            alpha=alpha if page.samplesperpixel > colors else "",
            inverted=int(page.photometric) == INVERTED,
        )


def _first_page(tiff: TiffFile) -> TiffPage:
    page = tiff.pages[0]
    assert isinstance(page, TiffPage)  # only later ones are read as frames
    return page


def refuse_pages(path: str, pages: int) -> None:
    """Refuse an image of more than one page."""
    if pages > 1:
        raise InputError(
            f"image {path}: holds {pages} pages, and one picture is expected; save the page that "
            "is wanted as a picture of its own"
        )


def _count_pages(tiff: TiffFile, first: TiffPage) -> int:
    if first.is_reduced:
        return len(tiff.pages)
    full = sum(not getattr(page, "is_reduced", False) for page in tiff.pages)
    # ImageJ writes large stacks behind one single head.
    stacked = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
    return max(full, int(stacked), first.imagedepth)


def _check_channels(page: TiffPage, path: str, depth: str) -> None:
    photometric, channels = int(page.photometric), page.samplesperpixel
    real = page.dtype is not None and page.dtype.kind in REAL
    if depth and not (real and photometric in (INVERTED, GREY, RGB)):
        raise InputError(
            f"image {path}: {depth} values that are neither grey nor RGB; save it as grey or RGB"
        )
    colors = COLORS.get(photometric, channels)
    extra = channels - colors
    with_alpha = page.extrasamples and int(page.extrasamples[0]) in ALPHA
    if extra not in (0, 1) or (colors == extra == 1 and not with_alpha):
        raise InputError(
            f"image {path}: {channels} channels, expected 1 (grey) or 3 that the file calls RGB, "
            "and transparency at most; save what is wanted as a picture of its own"
        )


def read_deep_tiff(file: BinaryIO, head: TiffHead) -> DeepValues:
    """The first page of a TIFF of more than 8 bits, unturned."""
    if Image.MAX_IMAGE_PIXELS and head.size[0] * head.size[1] > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{head.size[0]}x{head.size[1]} pixels are too many")
    samples = _tiff_samples(file)
    if samples.ndim == 2:
        return DeepValues(samples, inverted=head.inverted)
    values, opacity = samples[..., : head.colors], None
    if head.alpha:
        largest = np.iinfo(samples.dtype).max if samples.dtype.kind in "ui" else 1.0
        opacity = (samples[..., head.colors] / largest).clip(0, 1)
    if opacity is not None and head.alpha == "premultiplied":
        share = opacity[..., None]
        values = np.divide(values, share, out=np.zeros(values.shape), where=share > 0)
    return DeepValues(values[..., 0] if head.colors == 1 else values, opacity, head.inverted)


def _tiff_samples(file: BinaryIO) -> np.ndarray:
    """(H, W) or (H, W, samples) of the first page."""
    file.seek(0)
    with TiffFile(file) as tiff:
        page = _first_page(tiff)
        try:
            samples = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            found = _by_another_decoder(tiff, page, file)
            if found is None:
                raise ValueError(f"{error}; save it without compression") from None
            samples = found
        channels_first = samples.ndim == 3 and page.axes == "SYX" and samples.shape == page.shape
        return np.moveaxis(samples, 0, -1) if channels_first else samples


def _by_another_decoder(tiff: TiffFile, page: TiffPage, file: BinaryIO) -> np.ndarray | None:
    """Samples in a compression that tifffile alone does not know, such as LZW."""
    file.seek(0)
    content = bytearray(file.read())
    if EXIF_ORIENTATION in page.tags:  # OpenCV turns deep TIFFs wrongly
        start = page.tags[EXIF_ORIENTATION].valueoffset
        content[start : start + 2] = struct.pack(f"{tiff.byteorder}H", UNTURNED)
    shape = (page.imagelength, page.imagewidth)
    for decode in (_decoded_by_opencv, _decoded_by_pillow):
        found = decode(bytes(content))
        if found is None or page.dtype is None or found.shape[:2] != shape:
            continue
        if np.can_cast(page.dtype, found.dtype):
            return found
    return None


def _decoded_by_opencv(content: bytes) -> np.ndarray | None:
    """(H, W), (H, W, 3) RGB or (H, W, 4) RGBA, without turning or scaling."""
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim == 2:
        return found
    return found[..., [2, 1, 0, 3][: found.shape[-1]]]


def _decoded_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)
