"""Whether the weak maps of a set hold classes at all: black-and-white masks do not."""

from __future__ import annotations

from collections.abc import Sequence

from bestie_d2.data.labels.readers import MAX_CLASSES, read_weak_sem_seg
from bestie_d2.errors import InputError
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

LOOKED_AT_FIRST = 16  # maps, spread over the set; nearly always one of them holds a class


def check_maps_hold_classes(folder: str, paths: Sequence[str]) -> None:
    """Refuse a set of weak maps in which there is 255 and, but for 0, nothing else.

    One such map is ordinary (nothing is known of its image), a whole set of them is a set of masks
    in black and white. Maps are read until one holds a class; those that cannot be read are passed
    over here and told of where their turn comes.

    Args:
        folder: of the maps, for the line.
    """
    unknown = False
    first = paths[:: max(1, len(paths) // LOOKED_AT_FIRST)]
    for path in (*first, *paths):
        try:
            index_map = read_weak_sem_seg(path, MAX_CLASSES)
        except InputError:
            continue
        known = index_map != IGNORE_INDEX
        if (index_map[known] != BACKGROUND_INDEX).any():
            return
        unknown |= not known.all()
    if unknown:
        raise InputError(
            f"weak maps {folder}: hold nothing but 0 and 255 in all {len(paths)} pictures, and 255 "
            "means unknown, so that no picture would have any foreground; write the class there, "
            "as its index + 1 (1 for the first class)"
        )
