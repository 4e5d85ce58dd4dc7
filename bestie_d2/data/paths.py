"""Where data sets live, and paths as a user writes them in a config."""

from __future__ import annotations

import os
import re

from bestie_d2.errors import InputError

ROOT_VARIABLE = "DETECTRON2_DATASETS"
DEFAULT_ROOT = "datasets"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def datasets_root() -> str:
    """The folder of all data sets: ``$DETECTRON2_DATASETS``, or ``datasets`` when it is unset."""
    return os.path.expanduser(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT)


def expand_path(path: str) -> str:
    """A path with ``~`` and ``$VAR`` / ``${VAR}`` filled in.

    Raises:
        InputError: a variable is not set (``DETECTRON2_DATASETS`` has a default).
    """
    variables = {**os.environ, ROOT_VARIABLE: datasets_root()}
    try:
        filled = _VARIABLE.sub(lambda match: variables[match[1] or match[2]], path)
    except KeyError as error:
        name = error.args[0]
        raise InputError(f"path {path!r}: the environment variable {name} is not set") from None
    return os.path.expanduser(filled)
