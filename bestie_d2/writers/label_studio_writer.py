"""Label Studio's tasks with predictions (pre-annotations), in polygons or as brush strokes.

Definitions: https://labelstud.io/guide/predictions (tasks, ``model_version``, ``score``),
https://labelstud.io/tags/polygonlabels and ``brushlabels`` (percent of the picture's width and
height), and for brushes the bits of ``@thi.ng/rle-pack``, https://github.com/thi-ng/umbrella, over
the four channels of an RGBA picture.
"""

from __future__ import annotations

from itertools import chain
from statistics import fmean
from urllib.parse import quote
from xml.etree import ElementTree as xml

import numpy as np

from bestie_d2.ops.run_lengths import counts_of, runs_by_row
from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.outlines import join_holes, trace_parts
from bestie_d2.writers.writer import OneFileWriter, rounded

MODEL_VERSION = "bestie_d2"
LOCAL_FILES = "/data/local-files/?d="  # how Label Studio names files of its own disk
LABELS, IMAGE = "label", "image"  # names of the two tags in the labeling interface
PERCENT_DECIMALS = 6  # 0.0001 pixels in a picture of 10,000
CHANNELS, OPAQUE = 4, 0xFF  # of RGBA
LENGTH_BITS = (3, 4, 8, 16)  # in how many bits rle-pack may write a length


class LabelStudioWriter(OneFileWriter):
    """The tasks, and the labeling interface that they suit as ``<format>.xml``; the score of a
    task is the mean of its objects'."""

    tag: str  # of the labeling interface

    def entry_of(self, image: LabeledImage) -> dict:
        found = [self.regions(one, image) for one in image.objects]
        result = [
            self._region(number, part, value, image.objects[number], image)
            for number, values in enumerate(found)
            for part, value in enumerate(values)
        ]
        score = rounded(fmean(one.score for one in image.objects)) if image.objects else 0.0
        prediction = {"model_version": MODEL_VERSION, "score": score, "result": result}
        data = {IMAGE: LOCAL_FILES + quote(image.file_name)}
        return {"data": data, "predictions": [prediction]}

    def regions(self, found: ObjectMask, image: LabeledImage) -> list[dict]:
        """The ``value`` of each region that an object becomes, but for its class."""
        raise NotImplementedError

    def _region(
        self, number: int, part: int, value: dict, found: ObjectMask, image: LabeledImage
    ) -> dict:
        kind = self.tag.lower()
        region = {
            "id": f"object-{number + 1}" + (f"-{part + 1}" if part else ""),
            "type": kind,
            "from_name": LABELS,
            "to_name": IMAGE,
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "score": rounded(found.score),
            "value": {**value, kind: [self.class_names[found.class_id]]},
        }
        return {**region, "parentID": f"object-{number + 1}"} if part else region

    def finish(self) -> None:
        with replacing(self.output / self.file_name) as file:
            file.write("[")
            between = "\n"
            for line in self.lines():
                file.write(between + line)
                between = ",\n"
            file.write("\n]\n")
        view = xml.Element("View")
        xml.SubElement(view, "Image", {"name": IMAGE, "value": f"${IMAGE}", "zoom": "true"})
        labels = xml.SubElement(view, self.tag, {"name": LABELS, "toName": IMAGE})
        for name in self.class_names:
            xml.SubElement(labels, "Label", {"value": name})
        xml.indent(view)
        with replacing((self.output / self.file_name).with_suffix(".xml")) as file:
            file.write(xml.tostring(view, "unicode") + "\n")


class LabelStudioPolygonWriter(LabelStudioWriter):
    """``labelstudio.json``: a polygon a part, those of an object under its first one; a slit
    without width leads to each hole."""

    format_name = "labelstudio"
    file_name = "labelstudio.json"
    tag = "PolygonLabels"

    def regions(self, found: ObjectMask, image: LabeledImage) -> list[dict]:
        size = np.array([image.width, image.height]) / 100  # percent
        parts = [join_holes(part) / size for part in trace_parts(found.mask, found.top_left)]
        return [{"points": part.round(PERCENT_DECIMALS).tolist(), "closed": True} for part in parts]


class LabelStudioBrushWriter(LabelStudioWriter):
    """``labelstudio-brush.json``: a brush stroke an object, exact with holes and parts."""

    format_name = "labelstudio-brush"
    file_name = "labelstudio-brush.json"
    tag = "BrushLabels"

    def regions(self, found: ObjectMask, image: LabeledImage) -> list[dict]:
        size = image.height * image.width
        counts = counts_of(runs_by_row(found, image.width), size)
        return [{"format": "rle", "rle": list(pack_runs(counts))}]


def pack_runs(counts: list[int]) -> bytes:
    """Pixels, transparent and opaque in turn, in the bits of rle-pack.

    A head of 32 bits for the number of values, 5 for the bits of a value less 1 and 4 for each of
    the lengths' bits less 1; then for each run a 1, two bits for which of the four lengths it is
    written in, its length less 1, and the value.
    """
    head = f"{sum(counts) * CHANNELS:032b}{OPAQUE.bit_length() - 1:05b}"
    head += "".join(f"{bits - 1:04b}" for bits in LENGTH_BITS)
    runs = (_run(count * CHANNELS, OPAQUE * (place % 2)) for place, count in enumerate(counts))
    bits = "".join(chain([head], runs))
    missing = -len(bits) % 8
    return int(bits + "0" * missing, 2).to_bytes((len(bits) + missing) // 8, "big")


def _run(length: int, value: int) -> str:
    """Of equal values: as many of the longest that can be written as there are, and the rest."""
    most, rest = divmod(length, 2 ** LENGTH_BITS[-1])
    longest = _short_run(2 ** LENGTH_BITS[-1], value)
    return longest * most + (_short_run(rest, value) if rest else "")


def _short_run(length: int, value: int) -> str:
    which = next(index for index, bits in enumerate(LENGTH_BITS) if length <= 2**bits)
    return f"1{which:02b}{length - 1:0{LENGTH_BITS[which]}b}{value:08b}"
