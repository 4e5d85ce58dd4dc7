"""What VOC 2012 and SBD have to hold before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bestie_d2.data.datasets.sbd import sbd_instances, sbd_list
from bestie_d2.data.datasets.voc import TRAIN_AUG, list_hint, read_list, voc_file, voc_list
from bestie_d2.data.labels.attach import check_present
from bestie_d2.errors import InputError

TRAIN_OBJECTS = "objects in train"
IMAGES_IN = "images in {}"
# Of the complete sets.
OFFICIAL_COUNTS = {
    IMAGES_IN.format("train"): 1_464,
    IMAGES_IN.format("val"): 1_449,
    IMAGES_IN.format(TRAIN_AUG): 10_582,
    TRAIN_OBJECTS: 3_507,
}


@dataclass(frozen=True)
class VocSources:
    """The two data sets as they were extracted.

    Attributes:
        voc: ``VOC2012``.
        sbd: ``benchmark_RELEASE``.
        train, val, train_aug: image stems in the order of VOC's lists, and sorted.
    """

    voc: str
    sbd: str
    train: list[str]
    val: list[str]
    train_aug: list[str]

    @staticmethod
    def open(voc: str, sbd: str) -> VocSources:
        """Read the image lists.

        ``train_aug`` are the images of SBD's two lists and of VOC's train, without VOC's val.

        Raises:
            InputError: a list is missing.
        """
        hint = f"put SBD into {sbd} as datasets/README.md shows"
        outlined = [read_list(sbd_list(sbd, split), hint) for split in ("train", "val")]
        train, val = (read_list(voc_list(voc, s), list_hint(voc, s)) for s in ("train", "val"))
        train_aug = sorted({*train, *outlined[0], *outlined[1]} - set(val))
        return VocSources(voc, sbd, train, val, train_aug)

    @property
    def with_own_masks(self) -> set[str]:
        """The images that VOC itself has masks of; SBD's count for the others."""
        return {*self.train, *self.val}

    def counts(self) -> dict[str, int]:
        """What is counted before any image is read; see ``OFFICIAL_COUNTS``."""
        splits = {"train": self.train, "val": self.val, TRAIN_AUG: self.train_aug}
        return {IMAGES_IN.format(split): len(stems) for split, stems in splits.items()}

    def check_files(self) -> None:
        """Refuse sources in which a file of a listed image is missing."""
        stems = sorted({*self.train_aug, *self.val})
        for what, folder in (("image", "JPEGImages"), ("annotation", "Annotations")):
            check_present(what, [voc_file(self.voc, folder, stem) for stem in stems])
        own = sorted(self.with_own_masks)
        for folder in ("SegmentationObject", "SegmentationClass"):
            check_present("truth", [voc_file(self.voc, folder, stem) for stem in own])
        others = sorted(set(stems) - self.with_own_masks)
        check_present("SBD truth", [sbd_instances(self.sbd, stem) for stem in others])

    def check_given_list(self, path: Path) -> None:
        """Refuse a ``train_aug`` list that is there already and has other images."""
        if not path.exists():
            return
        given = set(read_list(str(path), list_hint(self.voc, TRAIN_AUG)))
        lacking, more = set(self.train_aug) - given, given - set(self.train_aug)
        if lacking or more:
            raise InputError(
                f"{path}: is there already with other images than SBD's and VOC's train without "
                f"VOC's val (lacking: {len(lacking)}, too many: {len(more)}); move it away, then "
                "run this again"
            )


def wrong_counts(found: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """A line for each count that is not as expected."""
    return [
        f"{count:,} {what}, expected {expected[what]:,}"
        for what, count in found.items()
        if count != expected[what]
    ]
