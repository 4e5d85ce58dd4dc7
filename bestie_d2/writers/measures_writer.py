"""A table of measures, one row an object, for spreadsheets and statistics."""

from __future__ import annotations

import csv

import numpy as np

from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers.writer import OneFileWriter, rounded

COLUMNS = (
    *("file_name", "object", "class", "score", "area"),
    *("box_x", "box_y", "box_width", "box_height", "centroid_x", "centroid_y", "touches_border"),
)
CENTROID_DECIMALS = 2


class MeasuresWriter(OneFileWriter):
    """``measures.csv``. Lengths are in pixels; a box begins at the
    corner of its first pixel, the centroid is the mean of pixel indices (0 is the middle of the
    first pixel); ``touches_border`` is 1 of an object that the picture's border may cut."""

    format_name = "csv"
    file_name = "measures.csv"

    def entry_of(self, image: LabeledImage) -> list[list]:
        rows = enumerate(image.objects, start=1)
        return [[image.file_name, number, *self._row(found, image)] for number, found in rows]

    def _row(self, found: ObjectMask, image: LabeledImage) -> list:
        (top, left), (height, width) = found.top_left, found.mask.shape
        y, x = np.mean(np.nonzero(found.mask), axis=1).round(CENTROID_DECIMALS).tolist()
        at_border = 0 in (top, left) or top + height == image.height or left + width == image.width
        name, score = self.class_names[found.class_id], rounded(found.score)
        box = [left, top, width, height]
        centroid = [round(left + x, CENTROID_DECIMALS), round(top + y, CENTROID_DECIMALS)]
        return [name, score, int(found.mask.sum()), *box, *centroid, int(at_border)]

    def finish(self) -> None:
        with replacing(self.output / self.file_name) as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for rows in self.entries():
                table.writerows(rows)
