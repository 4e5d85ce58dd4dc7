"""Weak maps in the making: none is replaced before all of them are there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bestie_d2.data.labels.attach import MADE_WITH, WEAK_MAP_SUFFIX
from bestie_d2.data.labels.index_png import index_palette
from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder, replacing, write_json
from bestie_d2.storage.results import Results, differences
from bestie_d2.weights.class_names import CLASSES


class StagedMaps:
    """A folder of weak maps that is filled over one or several runs of the same settings.

    New maps lie with the unfinished results until :meth:`finish` moves them to their place.
    """

    def __init__(self, output: str | os.PathLike) -> None:
        self.output = Path(output)
        self.results = Results(output)
        self.settings: Mapping[str, Any] = {}
        self.keeps_output = False  # of the same settings

    def begin(self, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        """Make both folders, or go on in those that a run with the same settings left.

        Args:
            settings: everything that the maps depend on, and the names of classes if known.
            overwrite: make all maps anew, and throw away unfinished ones of other settings.

        Raises:
            InputError: there are maps of other settings, finished or not.
        """
        make_folder(self.output, "--output")
        self.settings = json.loads(json.dumps(settings))
        bare = {key: value for key, value in self.settings.items() if key != CLASSES}
        found = self._found()
        self.keeps_output = found == self.settings and not overwrite
        some = any(self.output.rglob(f"*{WEAK_MAP_SUFFIX}"))
        if some and not (self.keeps_output or overwrite or self.results.settings == bare):
            changed = differences(found or {}, self.settings)
            why = f"are of other settings ({changed})" if found else "are not ours"
            raise InputError(
                f"--output {self.output}: its maps {why}; --overwrite replaces them, another "
                "--output leaves them"
            )
        self.results.begin(bare, overwrite=overwrite)

    def _found(self) -> dict[str, Any] | None:
        """The settings of finished maps, with the names of classes that are wanted if these maps,
        or who wants them, knows none."""
        try:
            found = json.loads((self.output / MADE_WITH).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        classes = self.settings.get(CLASSES)
        if classes is None:
            found.pop(CLASSES, None)
            return found
        return {CLASSES: classes, **found}

    def has(self, name: str) -> bool:
        """Whether the map of an image, by its label name, need not be made any more."""
        folders = [self.results.folder, *([self.output] if self.keeps_output else [])]
        return any((folder / f"{name}{WEAK_MAP_SUFFIX}").exists() for folder in folders)

    def save(self, name: str, index_map: np.ndarray) -> None:
        """Write the map of an image by its label name, (H, W) uint8 WSSS indices."""
        image = Image.fromarray(index_map)
        image.putpalette(index_palette())
        made = self.results.folder / f"{name}{WEAK_MAP_SUFFIX}"
        make_folder(made.parent, "--output")
        with replacing(made, "wb") as file:
            image.save(file, format="PNG")

    def finish(self, names: Iterable[str]) -> int:
        """Move the maps of the images to their place and say how many were new.

        Where maps of other settings were to be replaced, those of images that were left out go.
        """
        moved = 0
        for name in names:
            file = f"{name}{WEAK_MAP_SUFFIX}"
            made, place = self.results.folder / file, self.output / file
            if made.exists():
                make_folder(place.parent, "--output")
                os.replace(made, place)
                moved += 1
            elif not self.keeps_output:
                place.unlink(missing_ok=True)
        write_json(self.output / MADE_WITH, self.settings)
        self.results.remove()
        return moved
