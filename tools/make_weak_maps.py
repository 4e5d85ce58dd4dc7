"""Make weak foreground maps by thresholds, for sets of one class (no classifier is needed).

    python tools/make_weak_maps.py --images DIR --output DIR [--method otsu_local] [--jobs N]
        [--truth instances.json] [--points points.json] [--draw N]

Writes <image stem>.png for each image: a palette PNG of the image's size, 0 background,
--class-index foreground. Maps that are there already are kept, so that an interrupted run goes on
where it stopped. With --points or --truth it also says how good the maps are.
"""

from __future__ import annotations

# ruff: noqa: E402
from bestie_d2.engine.quiet import quiet_third_party_warnings

quiet_third_party_warnings()

import argparse
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api
from skimage.color import rgb2gray, rgba2rgb
from skimage.io import imread
from tqdm import tqdm

from bestie_d2.colors import index_palette
from bestie_d2.contact_sheet import contact_sheet
from bestie_d2.data.datasets.weak import WeakDataset, load_weak_dataset
from bestie_d2.data.readers import read_cues, read_weak_sem_seg
from bestie_d2.data.tags import read_tags
from bestie_d2.engine.command_line import make_folder, run_tool
from bestie_d2.errors import InputError
from bestie_d2.evaluation.truth import to_rle
from bestie_d2.evaluation.weak_map_quality import (
    WeakMapCounts,
    count_against_points,
    count_against_truth,
)
from bestie_d2.labeling.thresholds import METHODS, POLARITIES, ForegroundRecipe, weak_foreground
from bestie_d2.structures import IGNORE_INDEX, PointCues
from bestie_d2.visualization import brighten, draw_image, draw_weak_map

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
RGB, RGBA = 3, 4  # channels


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """An option for each field of ``ForegroundRecipe``, of the same name."""
    defaults = ForegroundRecipe()
    options: dict[str, dict] = {
        "method": {"choices": METHODS, "help": "threshold"},
        "polarity": {"choices": POLARITIES, "help": "objects are brighter or darker"},
        "smooth": {"type": float, "metavar": "SIGMA", "help": "blur first, in pixels"},
        "block_size": {"type": int, "metavar": "PX", "help": "window, about two objects wide, odd"},
        "floor": {"type": float, "help": "otsu_local's level: 0 background, 1 objects"},
        "min_area": {"type": int, "metavar": "PX", "help": "drop smaller components"},
        "fill_holes": {"action": argparse.BooleanOptionalAction, "help": "fill enclosed holes"},
    }
    for name, options_of_it in options.items():
        options_of_it["help"] += " (default: %(default)s)"
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, default=getattr(defaults, name), **options_of_it)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--images", required=True, type=Path, metavar="DIR", help="image folder")
    add("--output", required=True, type=Path, metavar="DIR", help="map folder")
    add_recipe_options(parser)
    add("--class-index", default=1, type=int, metavar="K", help="foreground's index, class + 1")
    add("--jobs", default=1, type=int, metavar="N", help="processes (default: 1)")
    add("--overwrite", action="store_true", help="make all maps anew")
    add("--skip-bad", action="store_true", help="go on after unreadable images")
    add("--draw", default=0, type=int, metavar="N", help="draw N images to <output>-preview.png")
    add("--truth", metavar="JSON", help="COCO instances: say the foreground IoU")
    add("--points", metavar="JSON", help="points: say how many the components hold")
    arguments = parser.parse_args()
    if not 0 < arguments.class_index < IGNORE_INDEX:
        raise InputError(f"--class-index {arguments.class_index}: expected 1..{IGNORE_INDEX - 1}")
    if arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected 1 or more")
    return arguments


def find_images(folder: Path, output: Path) -> list[Path]:
    """The images of a folder by name; no two may have the same stem."""
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


def make_map(path: Path, output: Path, class_index: int, recipe: ForegroundRecipe) -> str | None:
    """Write the map of one image, whole or not at all; what is wrong with the image if it can't."""
    try:
        mask = weak_foreground(read_grey(path), recipe)
    except InputError as error:
        return str(error)
    index_map = Image.fromarray(mask.astype(np.uint8) * np.uint8(class_index))
    index_map.putpalette(index_palette())
    scratch = output / f".{path.stem}.part"
    index_map.save(scratch, format="PNG")
    os.replace(scratch, map_path(output, path))
    return None


def map_path(output: Path, image: Path) -> Path:
    return output / f"{image.stem}.png"


@contextmanager
def mapper(jobs: int) -> Iterator[Callable]:
    """``imap`` of so many processes, or the built-in ``map``."""
    if jobs == 1:
        yield map
        return
    # Ctrl-C is the main process's to handle.
    with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool.imap


def make_maps(images: list[Path], arguments: argparse.Namespace, recipe: ForegroundRecipe) -> None:
    """Make the maps that are missing (or all)."""
    make_folder(arguments.output, "--output")
    pending = [
        path
        for path in images
        if arguments.overwrite or not map_path(arguments.output, path).exists()
    ]
    if len(pending) < len(images):
        print(f"{len(images) - len(pending)} maps are there already (--overwrite makes them anew)")
    work = partial(
        make_map, output=arguments.output, class_index=arguments.class_index, recipe=recipe
    )
    bad = 0
    with mapper(arguments.jobs) as run:
        for error in tqdm(run(work, pending), total=len(pending), desc="maps", unit="image"):
            if error and not arguments.skip_bad:
                raise InputError(f"{error}; --skip-bad leaves such images out")
            if error:
                bad += 1
                tqdm.write(f"left out: {error}")
    left_out = f", {bad} left out" if bad else ""
    print(f"{len(pending) - bad} maps written to {arguments.output}{left_out}")


@dataclass(frozen=True)
class References:
    """What the maps are measured with: records with true masks, and points by image stem."""

    records: list[dict]
    cues: dict[str, PointCues]


def read_references(arguments: argparse.Namespace) -> References:
    """Read ``--truth`` and ``--points``, before any map is made."""
    records, cues = [], {}
    if arguments.truth:
        truth = WeakDataset("truth", str(arguments.images), annotations=arguments.truth)
        records = load_weak_dataset(truth)
    if arguments.points:
        cues = read_cues(arguments.points, classes=read_tags(arguments.points).classes)
    return References(records, cues)


def measure(
    images: list[Path], arguments: argparse.Namespace, references: References
) -> WeakMapCounts:
    """Counts of all maps against what is known of their images."""
    class_id = arguments.class_index - 1
    maps = {path.stem: map_path(arguments.output, path) for path in images}
    maps = {stem: str(path) for stem, path in maps.items() if path.exists()}
    counts = WeakMapCounts()
    for record in references.records:
        stem, size = Path(record["file_name"]).stem, (record["height"], record["width"])
        if stem in maps:
            index_map = read_weak_sem_seg(maps[stem], arguments.class_index, size)
            counts += count_against_truth(index_map, true_foreground(record, class_id), class_id)
    for stem in references.cues.keys() & maps.keys():
        index_map = read_weak_sem_seg(maps[stem], arguments.class_index)
        counts += count_against_points(index_map, references.cues[stem], class_id)
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


def draw_preview(images: list[Path], arguments: argparse.Namespace) -> Path:
    """A sheet of the first images beside their maps."""
    rows = []
    for path in images[: arguments.draw]:
        if map_path(arguments.output, path).exists():
            image = brighten(draw_image(read_grey(path)))
            found = read_weak_sem_seg(str(map_path(arguments.output, path)), arguments.class_index)
            rows.append([image, draw_weak_map(image, found)])
    preview = arguments.output.with_name(f"{arguments.output.name}-preview.png")
    Image.fromarray(contact_sheet(rows, ["image", "weak map"])).save(preview)
    return preview


def main() -> None:
    arguments = parse_arguments()
    recipe = ForegroundRecipe(
        **{f.name: getattr(arguments, f.name) for f in fields(ForegroundRecipe)}
    )
    images = find_images(arguments.images, arguments.output)
    references = read_references(arguments)
    make_maps(images, arguments, recipe)
    if arguments.truth or arguments.points:
        counts = measure(images, arguments, references)
        for line in counts.describe() or ["no map of an image named there"]:
            print(line)
    if arguments.draw > 0:
        print(f"drawn: {draw_preview(images, arguments)}")


if __name__ == "__main__":
    run_tool(main)
