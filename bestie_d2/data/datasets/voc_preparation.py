"""VOC 2012 and SBD as they are downloaded -> the files that its data sets are used with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from bestie_d2.data.datasets.sbd import read_sbd_objects, sbd_instances
from bestie_d2.data.datasets.voc import (
    CENTER_POINTS,
    CLASS_MAPS,
    TRAIN_AUG,
    VOC_CLASSES,
    instances_file,
    read_voc_objects,
    read_voc_xml,
    tags_file,
    voc_file,
    voc_list,
)
from bestie_d2.data.datasets.voc_files import CocoFile, VocImage, write_class_map, write_points
from bestie_d2.data.datasets.voc_sources import (
    OFFICIAL_COUNTS,
    TRAIN_OBJECTS,
    VocSources,
    wrong_counts,
)
from bestie_d2.data.images import image_size
from bestie_d2.errors import InputError
from bestie_d2.storage.files import staged

XML, MASKS = TAG_SOURCES = ("xml", "masks")
IMAGE_FOLDERS = {CENTER_POINTS: write_points, CLASS_MAPS: write_class_map}  # a file an image


@dataclass
class VocReport:
    """What was written, and what a person should know of it.

    Attributes:
        rows: name, images, content of each file or folder.
        warnings: counts that are not those of the complete sets, and kept folders that lack images.
        images: of ``train_aug``.
        only_xml, only_masks: those of them with a class that only the XML names, or only the masks
            show.
        differing: those with either.
    """

    rows: list[tuple[str, int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    images: int = 0
    only_xml: int = 0
    only_masks: int = 0
    differing: int = 0

    def compare_tags(self, image: VocImage) -> None:
        """Add one image to the comparison of XML and masks."""
        shown = set(image.objects.classes.values())
        self.images += 1
        self.only_xml += bool(image.tags - shown)
        self.only_masks += bool(shown - image.tags)
        self.differing += shown != image.tags

    def describe(self) -> list[str]:
        """Everything as lines, a table first."""
        return [
            tabulate(self.rows, headers=["written", "images", "content"]),
            f"tags of the XML and classes of the masks differ in {self.differing} of "
            f"{self.images} images of {TRAIN_AUG}: {self.only_xml} have a tag without a mask, "
            f"{self.only_masks} a mask without a tag",
            *(f"warning: {line}" for line in self.warnings),
        ]


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
        voc: ``VOC2012``.
        sbd: ``benchmark_RELEASE``.
        output: a folder; the registered sets find in ``VOC2012`` what is written there.
        tag_source: take ``train_aug``'s tags from the "xml" or from the "masks".
        expected: the counts of the complete sets.
        allow_partial: other counts are only told, in the report.

    Raises:
        InputError: other counts than expected, a missing or unreadable file, another
            ``train_aug.txt`` in ``output``, or ``output`` cannot be written.
    """
    sources, report = VocSources.open(voc, sbd), VocReport()
    _check_counts(sources.counts(), expected, allow_partial, report)
    sources.check_files()
    target = Path(output)
    image_list = Path(voc_list("", TRAIN_AUG))
    sources.check_given_list(target / image_list)
    with staged(target) as scratch:
        folders = [name for name in IMAGE_FOLDERS if not (target / name).is_dir()]
        files = _write_image_files(sources, scratch, folders, tag_source, report)
        train_objects = {TRAIN_OBJECTS: len(files[instances_file("train")].annotations)}
        _check_counts(train_objects, expected, allow_partial, report)
        for name, file in files.items():
            file.write(scratch / name)
        if not (target / image_list).exists():
            (scratch / image_list).parent.mkdir(parents=True)
            (scratch / image_list).write_text("".join(f"{stem}\n" for stem in sources.train_aug))
    report.rows.append((str(image_list), len(sources.train_aug), "image names"))
    for name, file in files.items():
        report.rows.append((name, len(file.images), f"{len(file.annotations)} labels"))
    for name in IMAGE_FOLDERS:
        there = {path.stem for path in (target / name).iterdir()}.intersection(sources.train_aug)
        report.rows.append((name, len(there), "new" if name in folders else "kept"))
        if len(there) < len(sources.train_aug):
            report.warnings.append(
                f"{target / name}: was there and is kept, with files of {len(there):,} of "
                f"{len(sources.train_aug):,} images; remove it to have it made anew"
            )
    return report


def _check_counts(
    found: Mapping[str, int], expected: Mapping[str, int], allow_partial: bool, report: VocReport
) -> None:
    wrong = wrong_counts(found, expected)
    if wrong and not allow_partial:
        raise InputError(
            f"{'; '.join(wrong)}: a download is not complete; extract VOC 2012 and SBD anew, or "
            "take what is there with --allow-partial"
        )
    report.warnings += wrong


def _write_image_files(
    sources: VocSources, scratch: Path, folders: Collection[str], tag_source: str, report: VocReport
) -> dict[str, CocoFile]:
    """Go through all images once: fill the JSON files, by name, and write the folders."""
    instances = {
        split: CocoFile(f"VOC 2012 {split}: instances") for split in ("train", TRAIN_AUG, "val")
    }
    tags = CocoFile(f"VOC 2012 {TRAIN_AUG}: tags from the {tag_source}")
    for name in folders:
        (scratch / name).mkdir()
    train = set(sources.train)
    for image in _read_images(sources, sources.train_aug, TRAIN_AUG):
        instances[TRAIN_AUG].add_objects(image)
        if image.stem in train:
            instances["train"].add_objects(image)
        tags.add_tags(image, image.objects.classes.values() if tag_source == MASKS else image.tags)
        report.compare_tags(image)
        for name in folders:
            IMAGE_FOLDERS[name](image, scratch / name)
    for image in _read_images(sources, sources.val, "val"):
        instances["val"].add_objects(image)
    files = {instances_file(split): file for split, file in instances.items()}
    return {tags_file(TRAIN_AUG): tags, **files}


def _read_images(sources: VocSources, stems: list[str], title: str) -> Iterator[VocImage]:
    """The images with their labels; what their XML says of the size is not relied on."""
    own = sources.with_own_masks
    for stem in tqdm(stems, desc=title, unit="image"):
        tags = read_voc_xml(voc_file(sources.voc, "Annotations", stem))["image_classes"]
        size = image_size(voc_file(sources.voc, "JPEGImages", stem))
        if stem in own:
            objects = read_voc_objects(sources.voc, stem, size)
            class_map = voc_file(sources.voc, "SegmentationClass", stem)
        else:
            path = sbd_instances(sources.sbd, stem)
            objects, class_map = read_sbd_objects(path, len(VOC_CLASSES), size), None
        yield VocImage(stem, *size, frozenset(tags), objects, class_map)
