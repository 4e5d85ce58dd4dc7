"""What all writers share: where files go, what they are called, and how they get there whole.

A format of a file an image writes ``<output>/<format>/<sub-folders>/<image stem><suffix>``, one of
a file a set that file when it is closed. Objects are numbered from 1 in
the order they come in, in all formats.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from bestie_d2.data.names import portable, without_suffix
from bestie_d2.storage.files import make_folder
from bestie_d2.structures import LabeledImage, ObjectMask

SCORE_DECIMALS = 6  # of the scores in files


class Writer:
    """Takes the images of a set one after the other and writes them in one format."""

    format_name: str  # by which it is asked for, and the folder of its files

    def __init__(
        self, output: str | Path, class_names: Sequence[str], *, file_names: Iterable[str] = ()
    ) -> None:
        """
        Args:
            output: the folder of all formats; it is made if need be.
            class_names: of classes ``0..C-1``.
            file_names: of all images to come. Those of one stem in one folder, such as ``a.jpg``
                and ``a.png``, keep their suffix in the names of files, so that none is lost.
        """
        self.output = Path(output)
        self.class_names = list(class_names)
        self._names = output_names(file_names)
        make_folder(self.output, "--output")

    def add(self, image: LabeledImage) -> None:
        """Write one image, or note it for the file of the set; objects without a pixel are left
        out."""
        objects = [cut for found in image.objects if (cut := tightened(found)) is not None]
        self.write(replace(image, objects=objects))

    def write(self, image: LabeledImage) -> None:
        """What a format does with an image whose objects have crops without empty borders."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish when all images were added; until then no file of the set is written."""

    def name_of(self, image: LabeledImage) -> str:
        """What the files of an image are called, with sub-folders and without suffix."""
        return self._names.get(image.file_name) or without_suffix(image.file_name)

    def path_of(self, image: LabeledImage, suffix: str, folder: str = "") -> Path:
        """Where a file of an image goes; the folder is made."""
        path = self.output / (folder or self.format_name) / (self.name_of(image) + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class OneFileWriter(Writer):
    """A format of one file a set. What was added waits in a file without a name, which the system
    removes whatever ends the run; memory holds one image."""

    file_name: str

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._open = ExitStack()
        self._waiting = self._open.enter_context(_nameless_file(self.output))
        self.images = 0

    def write(self, image: LabeledImage) -> None:
        self.images += 1
        self._waiting.write(json.dumps(self.entry_of(image)) + "\n")

    def entry_of(self, image: LabeledImage) -> Any:
        """What is kept of an image, as JSON."""
        raise NotImplementedError

    def lines(self) -> Iterator[str]:
        """What was kept of each image, in order, as a line of JSON; may be asked for again."""
        self._waiting.seek(0)
        for line in self._waiting:
            yield line.rstrip("\n")

    def entries(self) -> Iterator[Any]:
        """The same as values."""
        return map(json.loads, self.lines())

    def close(self) -> None:
        self.finish()
        self._open.close()

    def finish(self) -> None:
        """Write the file of the set."""
        raise NotImplementedError


@contextmanager
def _nameless_file(folder: Path) -> Iterator[IO[str]]:
    with tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8") as file:
        yield file


def output_names(file_names: Iterable[str]) -> dict[str, str]:
    """What the files of images are called: their path without suffix, unless another one's is the
    same, also but for upper and lower case, which some file systems do not tell apart."""
    names = {name: without_suffix(name) for name in file_names}
    times = Counter(stem.casefold() for stem in names.values())
    return {
        name: stem if times[stem.casefold()] == 1 else portable(name)
        for name, stem in names.items()
    }


def tightened(found: ObjectMask) -> ObjectMask | None:
    """An object with its crop cut to its pixels; None if there is none."""
    x, y, width, height = cv2.boundingRect(found.mask.view(np.uint8))
    if not (width and height):
        return None
    top, left = found.top_left
    crop = np.ascontiguousarray(found.mask[y : y + height, x : x + width])
    return replace(found, top_left=(top + y, left + x), mask=crop)


def rounded(score: float) -> float:
    """A score as files have it."""
    return round(float(score), SCORE_DECIMALS)
