"""The names of the classes that weights, or weak maps, were made with, as they lie in files.

Networks and maps know classes by number alone, so names that differ would be confused without a
word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from bestie_d2.errors import InputError
from bestie_d2.storage.files import read_json

CLASSES = "classes"  # of a checkpoint, and of the settings in a folder of maps
CLASSES_FILE = "classes.json"  # in OUTPUT_DIR, beside the checkpoints


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def classes_in(content: Mapping, path: str) -> list[str] | None:
    """The names in what a checkpoint or a file of settings holds; None if there are none."""
    names = content.get(CLASSES)
    if names is not None and not (names and _are_names(names)):
        raise InputError(
            f"{path}: its {CLASSES!r} are no list of names; they say what it was made with, so "
            "the file is damaged"
        )
    return names


def classes_beside(path: str) -> list[str] | None:
    """The names in the ``classes.json`` beside weights, for those that do not hold them."""
    path = os.path.join(os.path.dirname(path), CLASSES_FILE)
    if not os.path.isfile(path):
        return None
    try:
        names = read_json(path)[CLASSES]
    except (OSError, ValueError, LookupError, TypeError):
        names = None
    if not _are_names(names):
        raise InputError(
            f"{path}: does not hold the classes that the weights beside it were trained with; "
            "remove it to use them all the same"
        )
    return names


def compare_classes(what: str, classes: Sequence[str], other: str, found: Sequence[str]) -> None:
    """Refuse class names that are not the same in the same order; the line shows both."""
    if list(classes) != list(found):
        how = "in another order" if sorted(classes) == sorted(found) else "other ones"
        raise InputError(
            f"the classes {what} are {', '.join(classes)}, "
            f"those of {other} {how} ({', '.join(found)})"
        )
