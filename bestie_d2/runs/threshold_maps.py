"""Weak foreground maps of one class by thresholds, and how good they are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api
from tqdm import tqdm

from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.attach import WEAK_MAP_SUFFIX
from bestie_d2.data.labels.cue_files import read_cues
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.tags import read_tags
from bestie_d2.data.names import IMAGE_SUFFIXES, label_names, match_names, names_of_files, path_name
from bestie_d2.errors import InputError
from bestie_d2.evaluation.truth import to_rle
from bestie_d2.evaluation.weak_components import count_against_points, count_against_truth
from bestie_d2.labeling.thresholds import ForegroundRecipe, weak_foreground
from bestie_d2.pictures.drawing import brighten, draw_image, draw_weak_map
from bestie_d2.pictures.sheets import contact_sheet
from bestie_d2.runs.staged_maps import MADE_WITH, StagedMaps
from bestie_d2.storage.processes import mapping, only_run_for
from bestie_d2.storage.results import FOLDER_SUFFIX
from bestie_d2.structures import PointCues
from bestie_d2.weights.class_names import CLASSES


def find_images(folder: Path, output: Path) -> list[Path]:
    """The images of a folder and of those below it, by name; hidden folders, the output and other
    folders of maps that were made here are passed over. Two that differ by suffix are refused."""
    if not folder.is_dir():
        raise InputError(f"--images {folder}: no such folder")
    if output.resolve() == folder.resolve():
        raise InputError(f"--output {output}: is the image folder; give another one")
    images = sorted(_images_below(folder, output.resolve()))
    if not images:
        raise InputError(f"--images {folder}: no image in it ({' '.join(IMAGE_SUFFIXES)})")
    for first, second in itertools.pairwise(sorted(images, key=lambda path: path.with_suffix(""))):
        if first.with_suffix("") == second.with_suffix(""):
            raise InputError(
                f"{second}: has the same name as {first.name}, by which maps are found; rename one"
            )
    return images


def _images_below(folder: Path, output: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            made_here = path.name.endswith(FOLDER_SUFFIX) or (path / MADE_WITH).exists()
            if path.resolve() != output and not made_here:
                yield from _images_below(path, output)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def names_below(folder: Path, images: Sequence[Path]) -> list[str]:
    """The images' names below their folder, in any system's form."""
    return [path.relative_to(folder).as_posix() for path in images]


@dataclass(frozen=True)
class ThresholdMaps:
    """The maps of a folder of images.

    Attributes:
        folder: of the images, sub-folders too.
        images: as ``find_images`` gives them.
        output: folder of the maps.
        recipe: how an image becomes a foreground mask.
        class_index: WSSS index of the foreground.
        classes: names in contiguous order, if they are known.
        reader: of the images.
    """

    folder: Path
    images: Sequence[Path]
    output: Path
    recipe: ForegroundRecipe = field(default_factory=ForegroundRecipe)
    class_index: int = 1
    classes: Sequence[str] = ()
    reader: ImageReader = field(default_factory=ImageReader)

    @cached_property
    def names(self) -> dict[Path, str]:
        """The label name of each image, by which its map is called."""
        return dict(
            zip(self.images, label_names(names_below(self.folder, self.images)), strict=True)
        )

    def of(self, image: Path) -> Path:
        """Where the map of an image is."""
        return self.output / f"{self.names[image]}{WEAK_MAP_SUFFIX}"

    def make(self, *, jobs: int = 1, skip_bad: bool = False, overwrite: bool = False) -> int:
        """Make the maps that are missing (or all) and say how many; none gets to its place before
        all are made, so a run that was stopped goes on. ``InputError`` for other maps in the
        folder, and for an unreadable image unless they are skipped."""
        images = str(self.folder.resolve())
        settings = {"images": images, "class index": self.class_index, **asdict(self.recipe)}
        if self.classes:
            settings[CLASSES] = list(self.classes)
        if self.reader != ImageReader():
            settings["intensity"] = self.reader.intensity.describe()
        maps = StagedMaps(self.output)
        with only_run_for(self.output):
            maps.begin(settings, overwrite=overwrite)
            left = [(image, name) for image, name in self.names.items() if not maps.has(name)]
            if len(left) < len(self.images):
                there = len(self.images) - len(left)
                print(f"{there} maps are there already (--overwrite makes them anew)")
            with mapping(jobs) as run:
                make = partial(_make_map, maps, self.reader, self.recipe, self.class_index)
                errors = run(make, left)
                for error in tqdm(errors, total=len(left), desc="maps", unit="image"):
                    if error and not skip_bad:
                        raise InputError(f"{error}; --skip-bad leaves such images out")
                    if error:
                        tqdm.write(f"left out: {error}")
            return maps.finish(self.names.values())

    def draw(self, count: int) -> Path:
        """A sheet of the first images beside their maps."""
        rows = []
        for path in self.images[:count]:
            if self.of(path).exists():
                image = brighten(draw_image(self.reader.read_grey(str(path))))
                found = read_weak_sem_seg(str(self.of(path)), self.class_index)
                rows.append({"image": image, "weak map": draw_weak_map(image, found)})
        preview = self.output.with_name(f"{self.output.name}-preview.png")
        Image.fromarray(contact_sheet(rows)).save(preview)
        return preview


def _make_map(
    maps: StagedMaps,
    reader: ImageReader,
    recipe: ForegroundRecipe,
    class_index: int,
    image: tuple[Path, str],
) -> str | None:
    """Make the map of an image, a path and a label name; what is wrong with it if it can't be."""
    path, name = image
    try:
        mask = weak_foreground(reader.read_grey(str(path)), recipe)
    except InputError as error:
        return str(error)
    maps.save(name, mask.astype(np.uint8) * np.uint8(class_index))
    return None


@dataclass(frozen=True)
class References:
    """What maps of one class are measured with: records with true masks, points by label name, and
    the names of the classes that these know."""

    records: list[dict] = field(default_factory=list)
    cues: dict[str, PointCues] = field(default_factory=dict)
    classes: Sequence[str] = ()

    @staticmethod
    def read(
        images: Path, files: Sequence[Path], *, truth: str | None, points: str | None
    ) -> References:
        """Read COCO instances and a point file, if they are given.

        Args:
            images: the folder.
            files: the images in it and below.
        """
        records, cues, classes = [], {}, []
        if truth:
            records = load_weak_dataset(WeakDataset("truth", str(images), annotations=truth))
            classes = MetadataCatalog.get("truth").thing_classes
        if points:
            names = names_of_files(names_below(images, files))
            classes = read_tags(points).classes
            cues = read_cues(points, classes=classes, names=names)
        return References(records, cues, classes)

    def measure(self, maps: ThresholdMaps) -> Counter[str]:
        """Counts of all maps against what is known of their images."""
        class_id = maps.class_index - 1
        paths = {maps.names[p]: str(maps.of(p)) for p in maps.images if maps.of(p).exists()}
        files = names_of_files(names_below(maps.folder, maps.images))
        names = match_names([path_name(record) for record in self.records], files)
        counts: Counter[str] = Counter()
        for record, name in zip(self.records, names, strict=True):
            if name in paths:
                size = (record["height"], record["width"])
                index_map = read_weak_sem_seg(paths[name], maps.class_index, size)
                truth = true_foreground(record, class_id)
                counts += count_against_truth(index_map, truth, class_id)
        for name in self.cues.keys() & paths.keys():
            index_map = read_weak_sem_seg(paths[name], maps.class_index)
            counts += count_against_points(index_map, self.cues[name], class_id)
        return counts


def true_foreground(record: dict, class_id: int) -> np.ndarray:
    """(H, W) bool union of a record's true masks of one class."""
    size = (record["height"], record["width"])
    masks = [
        to_rle(annotation["segmentation"], *size)
        for annotation in record["annotations"]
        if annotation["category_id"] == class_id
    ]
    return mask_api.decode(mask_api.merge(masks)).astype(bool) if masks else np.zeros(size, bool)
