"""Label images: 0 is background, n the n-th object, as cellpose, StarDist, napari and Fiji take
them, with a table of classes and scores beside each."""

from __future__ import annotations

import csv

import numpy as np
import tifffile
from PIL import Image

from bestie_d2.storage.files import replacing
from bestie_d2.structures import LabeledImage
from bestie_d2.writers.writer import Writer, rounded

LARGEST_IN_PNG = np.iinfo(np.uint16).max


class LabelImageWriter(Writer):
    """``labels/<name>.png`` of 16 bit, above 65,535 objects ``.tif`` of 32 bit, and
    ``labels/<name>.csv``. Of objects that share pixels the one with the higher score has them."""

    format_name = "labels"

    def write(self, image: LabeledImage) -> None:
        many = len(image.objects) > LARGEST_IN_PNG
        labels = label_image(image, np.uint32 if many else np.uint16)
        with replacing(self.path_of(image, ".csv")) as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["label", "class", "score", "pixels"])
            for number, found in enumerate(image.objects, start=1):
                name = self.class_names[found.class_id]
                seen = np.count_nonzero(labels[found.window] == number)
                rows.writerow([number, name, rounded(found.score), seen])
        with replacing(self.path_of(image, ".tif" if many else ".png"), "wb") as file:
            if many:
                tifffile.imwrite(file, labels, compression="zlib")
            else:
                Image.fromarray(labels).save(file, "PNG")


def label_image(image: LabeledImage, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """(H, W) numbers of objects, counted from 1."""
    labels = np.zeros((image.height, image.width), dtype)
    order = np.argsort([found.score for found in image.objects], kind="stable")
    for index in order.tolist():
        found = image.objects[index]
        labels[found.window][found.mask] = index + 1
    return labels
