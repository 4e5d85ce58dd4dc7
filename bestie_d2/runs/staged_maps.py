"""A folder of weak maps, none of which is replaced before all are there."""

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
from bestie_d2.storage.files import make_folder, read_json, replacing, write_json
from bestie_d2.storage.machine_shares import ONE_MACHINE, Machines, wait_until_begun
from bestie_d2.storage.results import differences
from bestie_d2.weights.class_names import CLASSES


class StagedMaps:
    """A folder of weak maps, by the label names of their images, that is filled over one or several
    runs of the same settings: new maps lie with the unfinished results until :meth:`finish` moves
    them to their place."""

    def __init__(
        self,
        output: str | os.PathLike,
        settings: Mapping[str, Any],
        *,
        machines: Machines = ONE_MACHINE,
        overwrite: bool = False,
        keep_finished: bool = False,
    ) -> None:
        """Make both folders, or go on in those that a run of the same settings left; maps of other
        settings, finished or not, are refused unless ``overwrite`` has all made anew. A machine
        that is not the first one waits for that to do it.

        Args:
            settings: everything that the maps depend on, and the names of classes if known.
            keep_finished: finished maps of the same settings stay where others are overwritten.
        """
        self.output, self.results = Path(output), machines.results(output)
        self.settings = json.loads(json.dumps(settings))
        try:
            found = read_json(self.output / MADE_WITH)
        except (OSError, ValueError):
            found = {}
        if found and CLASSES in self.settings:  # names that either side does not know fit any
            found.setdefault(CLASSES, self.settings[CLASSES])
        else:
            found.pop(CLASSES, None)
        self.keeps_output = found == self.settings and (keep_finished or not overwrite)
        bare = {key: value for key, value in self.settings.items() if key != CLASSES}
        if machines.rank:
            wait_until_begun(self.results, bare)
            return
        make_folder(output, "--output")
        some = any(self.output.rglob(f"*{WEAK_MAP_SUFFIX}"))
        if some and not (self.keeps_output or overwrite or self.results.settings == bare):
            changed = differences(found, self.settings)
            why = f"are of other settings ({changed})" if found else "are not ours"
            raise InputError(
                f"--output {output}: its maps {why}; --overwrite replaces them, another --output "
                "leaves them"
            )
        self.results.begin(bare, overwrite=overwrite)

    def has(self, name: str) -> bool:
        """Whether the map of an image need not be made any more."""
        made, place = self._paths(name)
        return made.exists() or (self.keeps_output and place.exists())

    def save(self, name: str, index_map: np.ndarray) -> None:
        """Write the map of an image, (H, W) uint8 WSSS indices."""
        image = Image.fromarray(index_map)
        image.putpalette(index_palette())
        made, _ = self._paths(name)
        make_folder(made.parent, "--output")
        with replacing(made, "wb") as file:
            image.save(file, format="PNG")

    def finish(self, names: Iterable[str]) -> int:
        """Move the maps of the images to their place and say how many were new; where maps of other
        settings were to be replaced, those of images that were left out go."""
        moved = 0
        if not self.keeps_output:  # a kill leaves old maps and new ones
            (self.output / MADE_WITH).unlink(missing_ok=True)
        for made, place in map(self._paths, names):
            if made.exists():
                make_folder(place.parent, "--output")
                os.replace(made, place)
                moved += 1
            elif not self.keeps_output:
                place.unlink(missing_ok=True)
        write_json(self.output / MADE_WITH, self.settings)
        self.results.remove()
        return moved

    def _paths(self, name: str) -> tuple[Path, Path]:
        """Where a map is made, and its place."""
        file = f"{name}{WEAK_MAP_SUFFIX}"
        return self.results.folder / file, self.output / file
