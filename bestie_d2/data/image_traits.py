"""In what ways pictures are not taken as they are stored, and how that is told."""

from __future__ import annotations

from collections.abc import Mapping

from bestie_d2.data.deep_images import Intensity

TURNED = "turned"
ON_WHITE = "transparency"
FIRST_OF_SEVERAL = "first picture"
BLACK = "nearly black"
DEPTH = "depth "  # and which


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
