"""VOC 2012 and SBD as they are downloaded -> the files that VOC's data sets are used with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from tabulate import tabulate

from bestie_d2.data.datasets.object_masks import coco_annotation, coco_categories, inner_point
from bestie_d2.data.datasets.voc import (
    CENTER_POINTS,
    CLASS_MAPS,
    INSTANCES,
    TAGS,
    TRAIN_AUG,
    VOC_CLASSES,
    VocFolder,
    voc_image_id,
)
from bestie_d2.data.datasets.voc_sources import VocImage, VocSources
from bestie_d2.data.labels.cue_files import GIVEN_SCORE
from bestie_d2.data.labels.index_png import index_palette
from bestie_d2.errors import InputError
from bestie_d2.storage.files import staged
from bestie_d2.storage.processes import only_run_in

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
