"""VOC 2012 and SBD as they are downloaded -> the files that VOC's data sets are used with.

SBD, the Semantic Boundaries Dataset, outlines objects in 11,355 of VOC's images. ``benchmark.tgz``
holds ``benchmark_RELEASE/dataset``: ``train.txt`` and ``val.txt``, and in ``inst/<image stem>.mat``
a MATLAB struct ``GTinst`` with ``Segmentation`` (H, W), numbers of the objects from 1, and
``Categories`` (N, 1), their classes from 1 in VOC's order. There are no void pixels.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import loadmat
from tabulate import tabulate
from tqdm import tqdm

from bestie_d2.data.datasets.object_masks import (
    ObjectMap,
    coco_annotation,
    coco_categories,
    inner_point,
)
from bestie_d2.data.datasets.voc import (
    CENTER_POINTS,
    CLASS_MAPS,
    INSTANCES,
    PREPARE,
    TAGS,
    TRAIN_AUG,
    VOC_CLASSES,
    VocFolder,
    read_list,
    voc_image_id,
)
from bestie_d2.data.images import Size, image_size
from bestie_d2.data.labels.attach import check_present
from bestie_d2.data.labels.cue_files import GIVEN_SCORE
from bestie_d2.data.labels.index_png import index_palette
from bestie_d2.errors import InputError
from bestie_d2.storage.files import staged
from bestie_d2.storage.processes import only_run_in
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

SBD_FOLDER = "benchmark_RELEASE"
SBD_STRUCT = "GTinst"
XML, MASKS = TAG_SOURCES = ("xml", "masks")
TRAIN_OBJECTS = "objects in train"
OFFICIAL_COUNTS = {  # of the complete sets
    "images in train": 1_464,
    "images in val": 1_449,
    f"images in {TRAIN_AUG}": 10_582,
    TRAIN_OBJECTS: 3_507,
}


def prepare_voc(
    voc: str,
    sbd: str,
    output: str,
    *,
    tag_source: str = XML,
    expected: Mapping[str, int] = OFFICIAL_COUNTS,
    allow_partial: bool = False,
) -> VocReport:
    """Write the list, the tags, the points, the class maps and the instances, all or nothing.

    The truth of an image of VOC's train and val is VOC's own; that of the others is SBD's, which
    has no void and draws the same objects a little differently. The list and the folders of points
    and class maps are kept where they are there: they may be somebody else's. JSON is replaced.

    Args:
        voc, sbd: ``VOC2012`` and ``benchmark_RELEASE``.
        output: a folder; the registered sets find in ``VOC2012`` what is written there.
        tag_source: take ``train_aug``'s tags from the "xml" or from the "masks".
        expected: the counts of the complete sets.
        allow_partial: other counts are only told, in the report.

    Raises:
        InputError: other counts than expected, a missing or unreadable file, another
            ``train_aug.txt`` in ``output``, or ``output`` cannot be written.
    """
    sources, report, target = VocSources(VocFolder(voc), sbd), VocReport(), Path(output)

    def check_counts(found: Mapping[str, int]) -> None:
        wrong = [
            f"{count:,} {what}, expected {expected[what]:,}"
            for what, count in found.items()
            if count != expected[what]
        ]
        if wrong and not allow_partial:
            raise InputError(
                f"{'; '.join(wrong)}: a download is not complete; extract VOC 2012 and SBD anew, "
                "or take what is there with --allow-partial"
            )
        report.warnings += wrong

    check_counts({f"images in {split}": len(stems) for split, stems in sources.stems.items()})
    stems, image_list = sources.stems[TRAIN_AUG], Path(VocFolder("").list_file(TRAIN_AUG))
    sources.check(target / image_list)
    tags = CocoFile(f"VOC 2012 {TRAIN_AUG}: tags from the {tag_source}")
    instances = {
        split: CocoFile(f"VOC 2012 {split}: instances") for split in ("train", TRAIN_AUG, "val")
    }
    files = {TAGS.format(TRAIN_AUG): tags}
    files |= {INSTANCES.format(split): file for split, file in instances.items()}
    with only_run_in(target, "--output"), staged(target) as scratch:
        new_folders = [name for name in IMAGE_FOLDERS if not (target / name).is_dir()]
        for name in new_folders:
            (scratch / name).mkdir()
        for image in sources.read(TRAIN_AUG):
            shown = set(image.objects.classes.values())
            tags.add(image, shown if tag_source == MASKS else image.tags)
            report.tags.append((image.tags, shown))
            instances[TRAIN_AUG].add(image)
            if image.stem in sources.with_voc_masks:  # of train
                instances["train"].add(image)
            for name in new_folders:
                IMAGE_FOLDERS[name](image, scratch / name)
        for image in sources.read("val"):
            instances["val"].add(image)
        check_counts({TRAIN_OBJECTS: len(instances["train"].annotations)})
        for name, file in files.items():
            file.write(scratch / name)
        if not (target / image_list).exists():
            (scratch / image_list).parent.mkdir(parents=True)
            (scratch / image_list).write_text("".join(f"{stem}\n" for stem in stems))
    report.rows.append((str(image_list), len(stems), "image names"))
    for name, file in files.items():
        report.rows.append((name, len(file.images), f"{len(file.annotations)} labels"))
    for name in IMAGE_FOLDERS:
        there = {path.stem for path in (target / name).iterdir()}.intersection(stems)
        report.rows.append((name, len(there), "new" if name in new_folders else "kept"))
        if len(there) < len(stems):
            report.warnings.append(
                f"{target / name}: was there and is kept, with files of {len(there):,} of "
                f"{len(stems):,} images; remove it to have it made anew"
            )
    return report


@dataclass
class VocReport:
    """What was written, and what a person should know of it."""

    # of each file or folder: name, images, content
    rows: list[tuple[str, int, str]] = field(default_factory=list)
    # counts that are not those of the complete sets, and kept folders that lack images
    warnings: list[str] = field(default_factory=list)
    # of each image of train_aug, the classes that its XML names and its masks show
    tags: list[tuple[set[int], set[int]]] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Everything as lines, a table first."""
        differing = sum(named != shown for named, shown in self.tags)
        only_xml = sum(bool(named - shown) for named, shown in self.tags)
        only_masks = sum(bool(shown - named) for named, shown in self.tags)
        return [
            tabulate(self.rows, headers=["written", "images", "content"]),
            f"tags of the XML and classes of the masks differ in {differing} of {len(self.tags)} "
            f"images of {TRAIN_AUG}: {only_xml} have a tag without a mask, {only_masks} a mask "
            "without a tag",
            *(f"warning: {line}" for line in self.warnings),
        ]


# -- what is read


@dataclass(frozen=True)
class VocImage:
    """An image with its labels; ``tags`` are contiguous classes."""

    stem: str
    size: Size
    tags: set[int]  # that its XML names
    objects: ObjectMap
    class_map: str | None  # path of VOC's own; None where the objects are SBD's


class VocSources:
    """VOC and SBD, and the images of train, val and train_aug: those of SBD's two lists and of
    VOC's train, without VOC's val."""

    def __init__(self, voc: VocFolder, sbd: str) -> None:
        self.voc, self.sbd = voc, os.path.join(sbd, "dataset")
        hint = f"put SBD into {sbd} as docs/data_sets.md shows"
        lists = [os.path.join(self.sbd, f"{split}.txt") for split in ("train", "val")]
        outlined = {stem for path in lists for stem in read_list(path, hint)}
        train, val = voc.stems("train"), voc.stems("val")
        train_aug = sorted({*train, *outlined} - set(val))
        self.stems = {"train": train, "val": val, TRAIN_AUG: train_aug}
        self.with_voc_masks = {*train, *val}  # SBD's masks count for the others

    def sbd_file(self, stem: str) -> str:
        return os.path.join(self.sbd, "inst", f"{stem}.mat")

    def check(self, given_list: Path) -> None:
        """Refuse sources in which a file of a listed image is missing, and a ``train_aug`` list
        that is there already and has other images."""
        everything = sorted({*self.stems[TRAIN_AUG], *self.stems["val"]})
        for what, folder, stems in (
            ("image", "JPEGImages", everything),
            ("annotation", "Annotations", everything),
            ("truth", "SegmentationObject", sorted(self.with_voc_masks)),
            ("truth", "SegmentationClass", sorted(self.with_voc_masks)),
        ):
            check_present(what, [self.voc.file(folder, stem) for stem in stems])
        others = [stem for stem in everything if stem not in self.with_voc_masks]
        check_present("SBD truth", list(map(self.sbd_file, others)))
        if given_list.exists():
            given, expected = set(read_list(str(given_list), PREPARE)), set(self.stems[TRAIN_AUG])
            if given != expected:
                raise InputError(
                    f"{given_list}: is there already with other images than SBD's and VOC's train "
                    f"without VOC's val (lacking: {len(expected - given)}, too many: "
                    f"{len(given - expected)}); move it away, then run this again"
                )

    def read(self, split: str) -> Iterator[VocImage]:
        """The images with their labels; what their XML says of the size is not relied on."""
        for stem in tqdm(self.stems[split], desc=split, unit="image"):
            tags = set(self.voc.read_xml(stem)["image_classes"])
            size = image_size(self.voc.file("JPEGImages", stem))
            if stem in self.with_voc_masks:
                objects = self.voc.read_objects(stem, size)
                class_map = self.voc.file("SegmentationClass", stem)
            else:
                objects, class_map = read_sbd_objects(self.sbd_file(stem), size), None
            yield VocImage(stem, size, tags, objects, class_map)


@lru_cache(maxsize=1)
def _reader() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


def _mat_file(path: str) -> dict[str, Any]:
    """Read in a process of its own, which a damaged file may end: SciPy's C code trusts lengths."""
    return _reader().submit(loadmat, path).result()


def read_sbd_objects(path: str, size: Size) -> ObjectMap:
    """SBD's objects of an image of ``size`` (height, width); bad files are refused."""
    try:
        struct = _mat_file(path)[SBD_STRUCT][0, 0]
        numbers, categories = struct["Segmentation"], struct["Categories"].ravel()
    except FileNotFoundError:
        raise InputError(f"SBD {path}: no such file") from None
    except BrokenProcessPool:
        _reader.cache_clear()
        raise InputError(f"SBD {path}: not a readable MATLAB file (SciPy crashed on it)") from None
    except (KeyError, IndexError):
        raise InputError(
            f"SBD {path}: has no {SBD_STRUCT} with Segmentation and Categories; is it of 'inst'?"
        ) from None
    except Exception as error:  # whatever SciPy raises on a damaged file
        raise InputError(f"SBD {path}: not a readable MATLAB file ({error})") from None
    if numbers.shape != tuple(size):
        raise InputError(
            f"SBD {path}: {'x'.join(map(str, numbers.shape))} pixels (height x width), but its "
            f"image has {size[0]}x{size[1]}"
        )
    classes = {}
    for number in np.setdiff1d(numbers, BACKGROUND_INDEX).tolist():
        category = int(categories[number - 1]) if number <= len(categories) else None
        where, num_classes = f"SBD {path}: object {number}", len(VOC_CLASSES)
        if number >= IGNORE_INDEX:
            raise InputError(f"{where}, expected at most {IGNORE_INDEX - 1} objects")
        if category is None or not 1 <= category <= num_classes:
            raise InputError(f"{where} has the class {category}, expected 1..{num_classes}")
        classes[number] = category - 1
    return ObjectMap(numbers.astype(np.uint8), classes)


# -- what is written


@dataclass
class CocoFile:
    """A COCO-style JSON in the making."""

    description: str
    images: list[dict] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)

    def add(self, image: VocImage, tags: Iterable[int] | None = None) -> None:
        """Add an image with the categories ``tags``, or else with its objects, and what belongs to
        none of them as ``void`` (RLE) of its entry."""
        image_id, (height, width) = voc_image_id(image.stem), image.size
        entry = {"id": image_id, "file_name": f"{image.stem}.jpg", "height": height, "width": width}
        self.images.append(entry)
        if tags is not None:
            self.annotations += [{"image_id": image_id, "category_id": c + 1} for c in sorted(tags)]
            return
        if void := image.objects.void():
            entry["void"] = void
        for class_id, mask in image.objects.masks():
            number = len(self.annotations) + 1
            self.annotations.append(coco_annotation(number, image_id, class_id, mask))

    def write(self, path: Path) -> None:
        head = {"info": {"description": self.description}, "images": self.images}
        labels = {"categories": coco_categories(VOC_CLASSES), "annotations": self.annotations}
        path.write_text(json.dumps({**head, **labels}), encoding="ascii")  # which all can read


def _write_points(image: VocImage, folder: Path) -> None:
    """A point for each object in the authors' text form, ``x y class score`` a line."""
    lines = []
    for class_id, mask in image.objects.masks():
        x, y = inner_point(mask)
        lines.append(f"{x} {y} {class_id} {GIVEN_SCORE:g}\n")
    (folder / f"{image.stem}.txt").write_text("".join(lines), encoding="ascii")


def _write_class_map(image: VocImage, folder: Path) -> None:
    """The true class map: a copy of VOC's own, or one drawn from SBD's objects."""
    path = folder / f"{image.stem}.png"
    if image.class_map is not None:
        shutil.copyfile(image.class_map, path)
    else:
        drawn = Image.fromarray(image.objects.semantic())
        drawn.putpalette(index_palette())
        drawn.save(path)


IMAGE_FOLDERS = {CENTER_POINTS: _write_points, CLASS_MAPS: _write_class_map}  # a file an image
