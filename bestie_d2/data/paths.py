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

    def value(match: re.Match) -> str:
        variable = match.group(1) or match.group(2)
        if variable == ROOT_VARIABLE:
            return datasets_root()
        if variable not in os.environ:
            raise InputError(f"path {path!r}: the environment variable {variable} is not set")
        return os.environ[variable]

    return os.path.expanduser(_VARIABLE.sub(value, path))
