"""What comes with the package beside its code: configurations and the tools' scripts.

They lie in folders of the project, ``configs/`` and ``tools/``, and in the package itself where it
was installed from a wheel.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONFIGS, TOOLS = "configs", "tools"


def shipped(folder: str) -> Path:
    """Where ``CONFIGS`` or ``TOOLS`` is: in the package, or beside it in a checkout."""
    inside = PACKAGE / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def config_path(name: str, beside: str | os.PathLike = "") -> str:
    """The path of a configuration file.

    Args:
        name: its path; of ``configs/NAME.yaml``, where there is no such file, the package's.
        beside: the folder that ``name`` is relative to; the working directory if empty.
    """
    path = os.path.join(beside, os.path.expanduser(name))
    first, _, rest = name.replace(os.sep, "/").partition("/")
    if first == CONFIGS and not os.path.exists(path) and os.path.isfile(shipped(CONFIGS) / rest):
        return str(shipped(CONFIGS) / rest)
    return path
