"""Weak semantic maps of a data set by a trained network, and of a folder of images by thresholds.

Either way none is replaced before all of them are there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from PIL import Image
from pycocotools import mask as mask_api
from tqdm import tqdm

from bestie_d2.checks.training import classes_of
from bestie_d2.data.datasets.object_masks import to_rle
from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.data.images import ImageReader
from bestie_d2.data.labels.annotation_tools.pictures import Pictures
from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.data.labels.attach import MADE_WITH, WEAK_MAP_SUFFIX
from bestie_d2.data.labels.cue_files import read_cues
from bestie_d2.data.labels.index_png import check_class_limit, index_palette, read_weak_sem_seg
from bestie_d2.data.labels.label_files import load_labels
from bestie_d2.data.labels.tags import tags_of_labels
from bestie_d2.data.names import (
    IMAGE_SUFFIXES,
    label_name,
    match_names,
    names_of_files,
    path_name,
    without_suffix,
)
from bestie_d2.errors import InputError
from bestie_d2.evaluation.tag_scores import TAG_LOGIT
from bestie_d2.evaluation.weak_components import count_against_points, count_against_truth
from bestie_d2.labeling.thresholds import ForegroundRecipe, weak_foreground
from bestie_d2.labeling.weak_maps import cams_to_index_map, to_index_map
from bestie_d2.model_keys import num_classes, num_classes_key
from bestie_d2.pictures.overlays import brighten, draw_image, draw_weak_map
from bestie_d2.pictures.sheets import contact_sheet
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.storage.files import make_folder, read_json, replacing, write_json
from bestie_d2.storage.machine_shares import ONE_MACHINE, Machines, wait_until_begun
from bestie_d2.storage.processes import mapping, only_run_for
from bestie_d2.storage.results import FOLDER_SUFFIX, differences
from bestie_d2.structures import PointCues
from bestie_d2.weights.class_names import CLASSES

SINGLE_STAGE, CAM = "single-stage", "cam"
ARCHITECTURES = {SINGLE_STAGE: "SingleStageWSSS", CAM: "PAMClassifier"}  # by method


class StagedMaps:
    """A folder of weak maps, by the label names of their images, that is filled over one or several
    runs of the same settings: new maps lie with the unfinished results until :meth:`finish` moves
    them to their place."""

    def __init__(
        self,
        output: str | os.PathLike,
        settings: Mapping[str, Any],
        *,
        machines: Machines = ONE_MACHINE,
        overwrite: bool = False,
        keep_finished: bool = False,
    ) -> None:
        """Make both folders, or go on in those that a run of the same settings left; maps of other
        settings, finished or not, are refused unless ``overwrite`` has all made anew. A machine
        that is not the first one waits for that to do it.

        Args:
            settings: everything that the maps depend on, and the names of classes if known.
            keep_finished: finished maps of the same settings stay where others are overwritten.
        """
        self.output, self.results = Path(output), machines.results(output)
        self.settings = json.loads(json.dumps(settings))
        try:
            found = read_json(self.output / MADE_WITH)
        except (OSError, ValueError):
            found = {}
        if found and CLASSES in self.settings:  # names that either side does not know fit any
            found.setdefault(CLASSES, self.settings[CLASSES])
        else:
            found.pop(CLASSES, None)
        self.keeps_output = found == self.settings and (keep_finished or not overwrite)
        bare = {key: value for key, value in self.settings.items() if key != CLASSES}
        if machines.rank:
            wait_until_begun(self.results, bare)
            return
        make_folder(output, "--output")
        some = any(self.output.rglob(f"*{WEAK_MAP_SUFFIX}"))
        if some and not (self.keeps_output or overwrite or self.results.settings == bare):
            changed = differences(found, self.settings)
            why = f"are of other settings ({changed})" if found else "are not ours"
            raise InputError(
                f"--output {output}: its maps {why}; --overwrite replaces them, another --output "
                "leaves them"
            )
        self.results.begin(bare, overwrite=overwrite)

    def has(self, name: str) -> bool:
        """Whether the map of an image need not be made any more."""
        made, place = self._paths(name)
        return made.exists() or (self.keeps_output and place.exists())

    def save(self, name: str, index_map: np.ndarray) -> None:
        """Write the map of an image, (H, W) uint8 WSSS indices."""
        image = Image.fromarray(index_map)
        image.putpalette(index_palette())
        made, _ = self._paths(name)
        make_folder(made.parent, "--output")
        with replacing(made, "wb") as file:
            image.save(file, format="PNG")

    def finish(self, names: Iterable[str]) -> int:
        """Move the maps of the images to their place and say how many were new; where maps of other
        settings were to be replaced, those of images that were left out go."""
        moved = 0
        if not self.keeps_output:  # a kill leaves old maps and new ones
            (self.output / MADE_WITH).unlink(missing_ok=True)
        for made, place in map(self._paths, names):
            if made.exists():
                make_folder(place.parent, "--output")
                os.replace(made, place)
                moved += 1
            elif not self.keeps_output:
                place.unlink(missing_ok=True)
        write_json(self.output / MADE_WITH, self.settings)
        self.results.remove()
        return moved

    def _paths(self, name: str) -> tuple[Path, Path]:
        """Where a map is made, and its place."""
        file = f"{name}{WEAK_MAP_SUFFIX}"
        return self.results.folder / file, self.output / file


# -- by a network


@dataclass(frozen=True)
class MapRecipe:
    """How a network's output becomes a weak map."""

    method: str  # one of ARCHITECTURES
    cam_threshold: float = 0.3  # of "cam": smallest foreground, a share of the class's peak
    min_margin: float = 0.0  # of "single-stage": 255 where the two most probable are closer
    # of "cam": take the classes of the tags, else those that the classifier finds
    use_tags: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        for name in ("cam_threshold", "min_margin"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"--{name.replace('_', '-')} {value:g}: expected 0 to 1")


def make_network_maps(
    cfg: CfgNode,
    dataset_name: str,
    output: str,
    recipe: MapRecipe,
    *,
    jobs: int = 1,
    skip_bad: bool = False,
    machines: Machines = ONE_MACHINE,
    overwrite: bool = False,
    keep_finished: bool = False,
) -> int:
    """Make the weak map of every image of a registered data set (``overwrite``: also of those that
    have one, unless ``keep_finished`` leaves those of the same settings) and say how many were
    made.

    Goes on where a run was stopped; maps get to the folder ``output`` when all have been made. A
    model that does not suit the method, other maps there and an unreadable image are refused.
    Ends by ``ShareDone`` on a machine that is not the first one.
    """
    wanted, found = ARCHITECTURES[recipe.method], cfg.MODEL.META_ARCHITECTURE
    if wanted != found:
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {found!r}, but --method {recipe.method} needs {wanted!r}"
        )
    check_class_limit(num_classes_key(cfg), num_classes(cfg))
    run = LabelingRun.open(cfg, dataset_name, jobs=jobs, skip_bad=skip_bad, machines=machines)
    settings = {**run.settings(), "recipe": str(recipe), CLASSES: classes_of(dataset_name)}
    settings |= {} if recipe.use_tags else {"tags": "not used"}
    with machines.first_alone(only_run_for(output)):
        maps = StagedMaps(
            output, settings, machines=machines, overwrite=overwrite, keep_finished=keep_finished
        )

        def do(share: int) -> None:
            records = machines.share_of(run.records, share)
            left = [record for record in records if not maps.has(label_name(record))]
            run.execute(left, partial(_save_map, maps, recipe), "maps", maps.results)

        with machines.sharing(output, do):
            return maps.finish(map(label_name, run.records))


def _save_map(maps: StagedMaps, recipe: MapRecipe, record: dict, output: dict) -> None:
    if recipe.method == SINGLE_STAGE:
        index_map = to_index_map(output["sem_seg"], recipe.min_margin).cpu().numpy()
    else:  # other classes are out
        size, classes = (record["height"], record["width"]), record["image_classes"]
        if not recipe.use_tags:
            classes = torch.nonzero(output["tag_logits"] > TAG_LOGIT).flatten().tolist()
        index_map = cams_to_index_map(output["cams"], classes, size, recipe.cam_threshold)
    maps.save(label_name(record), index_map)


# -- by thresholds


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
