"""Weak semantic maps of a folder of images by thresholds, for sets of one class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api
from tqdm import tqdm

from bestie_d2.data.datasets.object_masks import to_rle
from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.data.labels.attach import MADE_WITH, WEAK_MAP_SUFFIX
from bestie_d2.data.labels.cue_files import read_cues
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.labels.label_files import load_labels
from bestie_d2.data.labels.tags import tags_of_labels
from bestie_d2.data.names import (
    IMAGE_SUFFIXES,
    match_names,
    names_of_files,
    path_name,
    without_suffix,
)
from bestie_d2.errors import InputError
from bestie_d2.evaluation.weak_components import count_against_points, count_against_truth
from bestie_d2.labeling.thresholds import ForegroundRecipe, weak_foreground
from bestie_d2.pictures.overlays import brighten, draw_image, draw_weak_map
from bestie_d2.pictures.sheets import contact_sheet
from bestie_d2.runs.staged_maps import StagedMaps
from bestie_d2.storage.machine_shares import ONE_MACHINE, Machines
from bestie_d2.storage.processes import mapping, only_run_for
from bestie_d2.storage.results import FOLDER_SUFFIX
from bestie_d2.structures import PointCues
from bestie_d2.weights.class_names import CLASSES


@dataclass(frozen=True)
class ThresholdMaps:
    """The maps of a folder of images, of one class by a threshold."""

    folder: Path  # of the images, sub-folders too
    output: Path  # folder of the maps
    recipe: ForegroundRecipe
    class_index: int = 1  # WSSS index of the foreground
    reader: ImageReader = field(default_factory=ImageReader)
    truth: str | None = None  # COCO instances to measure with
    points: str | None = None  # a point file to measure with

    @cached_property
    def images(self) -> list[Path]:
        """By name; hidden folders and folders of maps are passed over, two images that differ by
        suffix are refused."""
        if not self.folder.is_dir():
            raise InputError(f"--images {self.folder}: no such folder")
        if self.output.resolve() == self.folder.resolve():
            raise InputError(f"--output {self.output}: is the image folder; give another one")
        images = sorted(self._images_below(self.folder))
        if not images:
            raise InputError(f"--images {self.folder}: no image in it ({' '.join(IMAGE_SUFFIXES)})")
        by_name: dict[str, Path] = {}
        for path in images:
            other = by_name.setdefault(without_suffix(str(path)), path).name
            if other != path.name:
                why = f"has the same name as {other}, by which maps are found; rename one"
                raise InputError(f"{path}: {why}")
        return images

    def _images_below(self, folder: Path) -> Iterator[Path]:
        for path in folder.iterdir():
            if path.name.startswith("."):
                continue
            of_maps = path.name.endswith(FOLDER_SUFFIX) or (path / MADE_WITH).exists()
            if path.is_dir() and not of_maps and path.resolve() != self.output.resolve():
                yield from self._images_below(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir():
                yield path

    @cached_property
    def names(self) -> dict[str, str]:
        """The label name of each image, by its path below the folder without suffix."""
        return names_of_files([path.relative_to(self.folder).as_posix() for path in self.images])

    @cached_property
    def references(self) -> tuple[list[dict], dict[str, PointCues], list[str]]:
        """What the files to measure with hold: records with true masks, points by label name, and
        the names of the classes, if known."""
        records, cues, classes = [], {}, []
        if self.truth:
            dataset = WeakDataset("truth", str(self.folder), annotations=self.truth)
            records = load_weak_dataset(dataset)
            classes = MetadataCatalog.get(dataset.name).thing_classes
        if self.points:
            paths = {path.relative_to(self.folder).as_posix(): str(path) for path in self.images}
            _, labels = load_labels(
                self.points, POINTS, pictures=partial(Pictures, str(self.folder), paths)
            )
            classes = tags_of_labels(self.points, labels).classes
            cues = read_cues(self.points, classes=classes, names=self.names, labels=labels)
        return records, cues, list(classes)

    def make(
        self,
        *,
        jobs: int = 1,
        skip_bad: bool = False,
        machines: Machines = ONE_MACHINE,
        overwrite: bool = False,
    ) -> int:
        """Make the maps that are missing (or all) and say how many; none gets to its place before
        all are made, so a run that was stopped goes on. ``InputError`` for other maps in the
        folder, and for an unreadable image unless they are skipped; ``ShareDone`` on a machine that
        is not the first one."""
        folder = str(self.folder.resolve())
        settings = {"images": folder, "class index": self.class_index, **asdict(self.recipe)}
        *_, classes = self.references
        if classes:
            settings[CLASSES] = classes
        if self.reader != ImageReader():
            settings["intensity"] = self.reader.intensity.describe()
        images = list(zip(self.images, self.names.values(), strict=True))
        with machines.first_alone(only_run_for(self.output)):
            maps = StagedMaps(self.output, settings, machines=machines, overwrite=overwrite)
            make = partial(_make_map, maps, self.reader, self.recipe, self.class_index)

            def do(share: int) -> None:
                shared = machines.share_of(images, share)
                left = [(path, name) for path, name in shared if not maps.has(name)]
                if there := len(shared) - len(left):
                    print(f"{there} maps are there already (--overwrite makes them anew)")
                with mapping(jobs) as run:
                    errors = tqdm(run(make, left), total=len(left), desc="maps", unit="image")
                    for error in filter(None, errors):
                        if not skip_bad:
                            raise InputError(f"{error}; --skip-bad leaves such images out")
                        tqdm.write(f"left out: {error}")

            with machines.sharing(self.output, do):
                return maps.finish(self.names.values())

    def read(self, name: str, size: tuple[int, int] | None = None) -> np.ndarray | None:
        """(H, W) uint8, the map of an image by its label name; None where there is none."""
        path = self.output / f"{name}{WEAK_MAP_SUFFIX}"
        return read_weak_sem_seg(str(path), self.class_index, size) if path.exists() else None

    def draw(self, count: int) -> Path:
        """A sheet of the first images beside their maps."""
        rows = []
        for path, name in list(zip(self.images, self.names.values(), strict=True))[:count]:
            found = self.read(name)
            if found is not None:
                image = brighten(draw_image(self.reader.read_grey(str(path))))
                rows.append({"image": image, "weak map": draw_weak_map(image, found)})
        preview = self.output.with_name(f"{self.output.name}-preview.png")
        Image.fromarray(contact_sheet(rows)).save(preview)
        return preview

    def measure(self) -> Counter[str]:
        """Counts of all maps against what is known of their images; empty where nothing is."""
        class_id = self.class_index - 1
        records, cues, _ = self.references
        names = match_names([path_name(record) for record in records], self.names)
        counts: Counter[str] = Counter()
        for record, name in zip(records, names, strict=True):
            size = (record["height"], record["width"])
            found = self.read(name, size) if name else None
            if found is not None:
                masks = [
                    to_rle(item["segmentation"], *size)
                    for item in record["annotations"]
                    if item["category_id"] == class_id
                ]
                truth = mask_api.decode(mask_api.merge(masks)) if masks else np.zeros(size)
                counts.update(count_against_truth(found, truth.astype(bool), class_id))
        for name in self.names.values():
            found = self.read(name) if name in cues else None
            if found is not None:
                counts.update(count_against_points(found, cues[name], class_id))
        return counts


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
