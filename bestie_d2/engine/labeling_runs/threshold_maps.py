"""Weak foreground maps of one class by thresholds, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api
from skimage.color import rgb2gray, rgba2rgb
from skimage.io import imread
from tqdm import tqdm

from bestie_d2.contact_sheet import contact_sheet
from bestie_d2.data.cue_files import read_cues
from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.data.readers import read_weak_sem_seg
from bestie_d2.data.tags import read_tags
from bestie_d2.engine.labeling_runs.staged_maps import StagedMaps
from bestie_d2.engine.one_run import only_run_for
from bestie_d2.engine.processes import mapping
from bestie_d2.errors import InputError
from bestie_d2.evaluation.truth import to_rle
from bestie_d2.evaluation.weak_map_quality import (
    WeakMapCounts,
    count_against_points,
    count_against_truth,
)
from bestie_d2.labeling.thresholds import ForegroundRecipe, weak_foreground
from bestie_d2.structures import PointCues
from bestie_d2.visualization import brighten, draw_image, draw_weak_map

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
RGB, RGBA = 3, 4  # channels


def find_images(folder: Path, output: Path) -> list[Path]:
    """The images of a folder by name.

    Raises:
        InputError: no such folder, no image in it, or two of the same stem.
    """
    if not folder.is_dir():
        raise InputError(f"--images {folder}: no such folder")
    if output.resolve() == folder.resolve():
        raise InputError(f"--output {output}: is the image folder; give another one")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise InputError(f"--images {folder}: no image in it ({' '.join(IMAGE_SUFFIXES)})")
    stems: dict[str, Path] = {}
    for image in images:
        if stems.setdefault(image.stem, image) != image:
            raise InputError(
                f"{image}: has the same name as {stems[image.stem].name}, by which maps are found; "
                "rename one"
            )
    return images


def read_grey(path: Path) -> np.ndarray:
    """(H, W) luminance of an 8- or 16-bit grey or RGB image; transparency goes on white."""
    try:
        image = imread(path)
    except Exception as error:  # every reader behind skimage has errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"image {path}: cannot be read ({reason})") from None
    if not np.isfinite(image).all():
        raise InputError(f"image {path}: has values that are no numbers")
    if image.ndim == 2:
        return image
    if image.ndim != 3 or image.shape[-1] not in (RGB, RGBA):
        raise InputError(f"image {path}: shape {image.shape}, expected one grey or RGB image")
    return rgb2gray(rgba2rgb(image) if image.shape[-1] == RGBA else image)


@dataclass(frozen=True)
class ThresholdMaps:
    """The maps of a folder of images.

    Attributes:
        images: as ``find_images`` gives them.
        output: folder of the maps.
        recipe: how an image becomes a foreground mask.
        class_index: WSSS index of the foreground.
    """

    images: Sequence[Path]
    output: Path
    recipe: ForegroundRecipe = field(default_factory=ForegroundRecipe)
    class_index: int = 1

    def make(self, *, jobs: int = 1, skip_bad: bool = False, overwrite: bool = False) -> int:
        """Make the maps that are missing (or all) and say how many; none gets to its place before
        all are made, so a run that was stopped goes on.

        Raises:
            InputError: other maps in the folder, or an unreadable image unless they are skipped.
        """
        with only_run_for(self.output):
            return self._make(jobs, skip_bad, overwrite)

    def _make(self, jobs: int, skip_bad: bool, overwrite: bool) -> int:
        maps = StagedMaps(self.output)
        folder = str(self.images[0].parent.resolve())
        settings = {"images": folder, "class index": self.class_index, **asdict(self.recipe)}
        maps.begin(settings, overwrite=overwrite)
        pending = [path for path in self.images if not maps.has(path.stem)]
        if len(pending) < len(self.images):
            there = len(self.images) - len(pending)
            print(f"{there} maps are there already (--overwrite makes them anew)")
        with mapping(jobs) as run:
            work = partial(_make_map, maps=maps, class_index=self.class_index, recipe=self.recipe)
            errors = run(work, pending)
            for error in tqdm(errors, total=len(pending), desc="maps", unit="image"):
                if error and not skip_bad:
                    raise InputError(f"{error}; --skip-bad leaves such images out")
                if error:
                    tqdm.write(f"left out: {error}")
        return maps.finish(path.stem for path in self.images)

    def of(self, image: Path) -> Path:
        """Where the map of an image is."""
        return self.output / f"{image.stem}.png"

    def draw(self, count: int) -> Path:
        """A sheet of the first images beside their maps."""
        rows = []
        for path in self.images[:count]:
            if self.of(path).exists():
                image = brighten(draw_image(read_grey(path)))
                found = read_weak_sem_seg(str(self.of(path)), self.class_index)
                rows.append([image, draw_weak_map(image, found)])
        preview = self.output.with_name(f"{self.output.name}-preview.png")
        Image.fromarray(contact_sheet(rows, ["image", "weak map"])).save(preview)
        return preview


def _make_map(
    path: Path, maps: StagedMaps, class_index: int, recipe: ForegroundRecipe
) -> str | None:
    """Make the map of one image; what is wrong with the image if it can't be done."""
    try:
        mask = weak_foreground(read_grey(path), recipe)
    except InputError as error:
        return str(error)
    maps.save(path.stem, mask.astype(np.uint8) * np.uint8(class_index))
    return None


@dataclass(frozen=True)
class References:
    """What maps of one class are measured with: records with true masks, points by image stem."""

    records: list[dict] = field(default_factory=list)
    cues: dict[str, PointCues] = field(default_factory=dict)

    @staticmethod
    def read(images: Path, *, truth: str | None, points: str | None) -> References:
        """Read COCO instances and a point file, if they are given."""
        records, cues = [], {}
        if truth:
            records = load_weak_dataset(WeakDataset("truth", str(images), annotations=truth))
        if points:
            cues = read_cues(points, classes=read_tags(points).classes)
        return References(records, cues)

    def measure(self, maps: ThresholdMaps) -> WeakMapCounts:
        """Counts of all maps against what is known of their images."""
        class_id = maps.class_index - 1
        paths = {path.stem: str(maps.of(path)) for path in maps.images if maps.of(path).exists()}
        counts = WeakMapCounts()
        for record in self.records:
            stem, size = Path(record["file_name"]).stem, (record["height"], record["width"])
            if stem in paths:
                index_map = read_weak_sem_seg(paths[stem], maps.class_index, size)
                truth = true_foreground(record, class_id)
                counts += count_against_truth(index_map, truth, class_id)
        for stem in self.cues.keys() & paths.keys():
            index_map = read_weak_sem_seg(paths[stem], maps.class_index)
            counts += count_against_points(index_map, self.cues[stem], class_id)
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
