"""What a TIFF says of itself, and which TIFFs are pictures: one page of grey or RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from tifffile import TiffFile, TiffPage

from bestie_d2.data.labels.readers import Size
from bestie_d2.data.orientation import EXIF_ORIENTATION, ORIENTATIONS, UNTURNED
from bestie_d2.errors import InputError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
INVERTED, RGB = 0, 2  # "photometric interpretation": white is zero; red, green, blue
COLORS = {INVERTED: 1, 1: 1, RGB: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # channels of each
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # "sample format"
ALPHA = {1: "premultiplied", 2: "straight"}  # by the kind of the first "extra sample"
BYTE = 8  # bits
REAL = "uif"  # NumPy's kinds of numbers that are no complex ones


@dataclass(frozen=True)
class TiffHead:
    """The first page of a TIFF.

    Attributes:
        size: (height, width) as stored.
        orientation: 1 to 8, as in EXIF.
        depth: such as "16-bit"; "" if it has 8 bits or fewer, which Pillow reads.
        colors: channels that are no transparency, 1 or 3.
        alpha: "premultiplied", "straight", or "" for none.
        inverted: zero is white.
    """

    size: Size
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
        page = tiff.pages[0]
        refuse_pages(path, _pages(tiff))
        depth = _depth(page)
        _check_channels(page, path, deep=bool(depth))
        turned = page.tags.get(EXIF_ORIENTATION)
        colors = COLORS.get(int(page.photometric), 1)
        extra = [int(kind) for kind in page.extrasamples]
        # Four channels of which nothing more is said are taken for RGBA, as Pillow does.
        alpha = ALPHA.get(extra[0], "") if extra else "straight"
        return TiffHead(
            size=(page.imagelength, page.imagewidth),
            orientation=turned.value if turned and turned.value in ORIENTATIONS else UNTURNED,
            depth=depth,
            colors=colors,
            alpha=alpha if page.samplesperpixel > colors else "",
            inverted=int(page.photometric) == INVERTED,
        )


def refuse_pages(path: str, pages: int) -> None:
    """Refuse an image of more than one page."""
    if pages > 1:
        raise InputError(
            f"image {path}: holds {pages} pages, and one picture is expected; save the page that "
            "is wanted as a picture of its own"
        )


def _pages(tiff: TiffFile) -> int:
    first = tiff.pages[0]
    if first.is_reduced:
        return len(tiff.pages)
    full = sum(not page.is_reduced for page in tiff.pages)
    # ImageJ writes large stacks behind one single head.
    stacked = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
    return max(full, int(stacked), first.imagedepth)


def _depth(page: TiffPage) -> str:
    """Name of the depth; "" up to 8 unsigned bits."""
    kind = {SIGNED: " signed", FLOAT: " floating-point"}.get(int(page.sampleformat), "")
    return f"{page.bitspersample}-bit{kind}" if page.bitspersample > BYTE or kind else ""


def _check_channels(page: TiffPage, path: str, *, deep: bool) -> None:
    photometric, channels = int(page.photometric), page.samplesperpixel
    real = page.dtype is not None and page.dtype.kind in REAL
    if deep and not (real and photometric in (INVERTED, 1, RGB)):
        raise InputError(
            f"image {path}: {_depth(page)} values that are neither grey nor RGB; save it as "
            "grey or RGB"
        )
    colors = COLORS.get(photometric, channels)
    extra = channels - colors
    grey_and_something = colors == 1 and extra == 1 and not (
        page.extrasamples and int(page.extrasamples[0]) in ALPHA
    )  # fmt: skip
    if extra not in (0, 1) or grey_and_something:
        raise InputError(
            f"image {path}: {channels} channels, expected 1 (grey) or 3 that the file calls RGB, "
            "and transparency at most; save what is wanted as a picture of its own"
        )
