"""Weak maps in the making: none is replaced before all of them are there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from bestie_d2.data.labels.attach import MADE_WITH, WEAK_MAP_SUFFIX
from bestie_d2.data.labels.index_png import index_palette
from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder, replacing, write_json
from bestie_d2.storage.results import FOLDER_SUFFIX, differences
from bestie_d2.weights.class_names import CLASSES


class StagedMaps:
    """A folder of weak maps that is filled over one or several runs of the same settings.

    New maps lie in ``<output>.parts/`` until :meth:`finish` moves them to their place.
    """

    def __init__(self, output: str | os.PathLike) -> None:
        self.output = Path(output)
        self.stage = Path(f"{self.output}{FOLDER_SUFFIX}")
        self.keeps_output = False

    def begin(self, settings: Mapping[str, object], *, overwrite: bool) -> None:
        """Make both folders, or go on in those that a run with the same settings left.

        Args:
            settings: everything that the maps depend on, by name; JSON values.
            overwrite: make all maps anew, and throw away unfinished ones of other settings.

        Raises:
            InputError: there are maps of other settings, finished or not, or a folder can't be
                made.
        """
        wanted = json.loads(json.dumps(settings))
        make_folder(self.output, "--output")
        found, unfinished = _settings_in(self.output, wanted), _settings_in(self.stage, wanted)
        self.keeps_output = found == wanted and not overwrite
        some = any(self.output.rglob(f"*{WEAK_MAP_SUFFIX}"))
        if some and wanted not in (found, unfinished) and not overwrite:
            why = (
                f"are of other settings ({differences(found, wanted)})" if found else "are not ours"
            )
            raise InputError(
                f"--output {self.output}: its maps {why}; --overwrite replaces them, another "
                "--output leaves them"
            )
        if any(self.stage.rglob(f"*{WEAK_MAP_SUFFIX}")) and unfinished != wanted and not overwrite:
            raise InputError(
                f"--output {self.output}: {self.stage} holds unfinished maps of other settings "
                f"({differences(unfinished or {}, wanted)}); --overwrite throws them away, another "
                "--output leaves them"
            )
        if unfinished != wanted:
            shutil.rmtree(self.stage, ignore_errors=True)
            make_folder(self.stage, "--output")
            write_json(self.stage / MADE_WITH, wanted)

    def has(self, name: str) -> bool:
        """Whether the map of an image, by its label name, need not be made any more."""
        file = name + WEAK_MAP_SUFFIX
        return (self.stage / file).exists() or (self.keeps_output and (self.output / file).exists())

    def save(self, name: str, index_map: np.ndarray) -> None:
        """Write the map of an image, (H, W) uint8 WSSS indices, whole or not at all.

        Args:
            name: the image's label name; its sub-folders are made.
        """
        image = Image.fromarray(index_map)
        image.putpalette(index_palette())
        made = self.stage / f"{name}{WEAK_MAP_SUFFIX}"
        made.parent.mkdir(parents=True, exist_ok=True)
        with replacing(made, "wb") as file:
            image.save(file, format="PNG")

    def finish(self, names: Iterable[str]) -> int:
        """Move the maps of the images to their place and say how many were new.

        Where maps of other settings were to be replaced, those of images that were left out go.
        """
        moved = 0
        for name in names:
            file = f"{name}{WEAK_MAP_SUFFIX}"
            made, place = self.stage / file, self.output / file
            if made.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(made, place)
                moved += 1
            elif not self.keeps_output:
                place.unlink(missing_ok=True)
        os.replace(self.stage / MADE_WITH, self.output / MADE_WITH)
        shutil.rmtree(self.stage)
        return moved


def _settings_in(folder: Path, wanted: Mapping[str, object]) -> dict | None:
    """The settings of the maps in a folder, with the names of classes that are wanted if it, or
    who wants them, knows none."""
    try:
        found = json.loads((folder / MADE_WITH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = {key: value for key, value in found.items() if key != CLASSES or CLASSES in wanted}
    return {key: value for key, value in wanted.items() if key == CLASSES} | known
