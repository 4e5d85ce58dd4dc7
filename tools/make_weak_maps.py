"""Make weak semantic maps: by a trained network from tags, or by thresholds for sets of one class.

    python tools/make_weak_maps.py --method single-stage --config-file configs/wsss_voc.yaml
        --output DIR [--dataset NAME] [--jobs N] [--num-machines N --machine-rank K] [KEY VALUE ...]
    python tools/make_weak_maps.py --images DIR --output DIR [--method otsu_local] [--jobs N]
        [--num-machines N --machine-rank K] [--truth instances.json] [--points points.json]
        [--draw N]

Writes <image stem>.png for each image, in the images' sub-folders where these hold stems twice: a
palette PNG of the image's size, 0 background, class + 1 elsewhere. Maps get to their place when all
are made; run again after an interruption, it goes on where it stopped. Where truth is known, it
says how good they are. The method "cam" thresholds the activation maps of a classifier
(configs/pam_voc.yaml), to compare with.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from bestie_d2.checks.weak_map_check import check_weak_maps
from bestie_d2.data import ImageReader
from bestie_d2.data.deep_images import IMAGE_RANGE, Intensity
from bestie_d2.engine.command_line import (
    labeling_config,
    labeling_parser,
    parse_options,
    run_tool,
    sharing,
)
from bestie_d2.errors import InputError
from bestie_d2.evaluation.weak_components import describe_counts
from bestie_d2.labeling.thresholds import METHODS, POLARITIES, ForegroundRecipe
from bestie_d2.runs.network_maps import ARCHITECTURES, CAM, MapRecipe, make_network_maps
from bestie_d2.runs.threshold_maps import ThresholdMaps
from bestie_d2.structures import IGNORE_INDEX

# Options that only one kind of method takes.
OF_NETWORKS = ("config_file", "dataset", "cam_threshold", "min_margin")
OF_THRESHOLDS = (
    *("images", "class_index", "draw", "truth", "points", "percentiles", "range"),
    *(field.name for field in fields(ForegroundRecipe) if field.name != "method"),
)


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """An option for each field of ``ForegroundRecipe``, of the same name."""
    defaults = ForegroundRecipe()
    options: dict[str, dict] = {
        "method": {"choices": (*ARCHITECTURES, *METHODS), "help": "network or threshold"},
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


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """What the methods with a network take."""
    defaults = MapRecipe(CAM)
    add = parser.add_argument_group("methods with a network").add_argument
    add("--cam-threshold", type=float, default=defaults.cam_threshold, metavar="T",
        help="cam's foreground, a share of the peak (default: %(default)s)")  # fmt: skip
    add("--min-margin", type=float, default=defaults.min_margin, metavar="P",
        help="single-stage: closer probabilities become 255 (default: %(default)s)")  # fmt: skip


def add_threshold_options(parser: argparse.ArgumentParser) -> None:
    """What the methods with a threshold take."""
    group = parser.add_argument_group("methods with a threshold")
    add = group.add_argument
    add("--images", type=Path, metavar="DIR", help="image folder")
    add("--class-index", default=1, type=int, metavar="K", help="foreground's index, class + 1")
    add("--draw", default=0, type=int, metavar="N", help="draw N images to <output>-preview.png")
    add("--truth", metavar="JSON", help="COCO instances: say the foreground IoU")
    add("--points", metavar="JSON", help="points: say how many the components hold")
    add("--percentiles", nargs=2, type=float, default=IMAGE_RANGE, metavar=("LOW", "HIGH"),
        help="of images deeper than 8 bits, as INPUT.INTENSITY.PERCENTILES")  # fmt: skip
    add("--range", nargs=2, type=float, default=(), metavar=("LOW", "HIGH"),
        help="of the same, as INPUT.INTENSITY.RANGE")  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = labeling_parser(__doc__, config_required=False)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="map folder")
    add_recipe_options(parser)
    add_network_options(parser)
    add_threshold_options(parser)
    arguments = parse_options(parser)
    check_options(parser, arguments)
    if not 0 < arguments.class_index < IGNORE_INDEX:
        raise InputError(f"--class-index {arguments.class_index}: expected 1..{IGNORE_INDEX - 1}")
    return arguments


def check_options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse what the method lacks, and what it would pass over."""
    with_network = arguments.method in ARCHITECTURES
    needed = "config_file" if with_network else "images"
    if not getattr(arguments, needed):
        option = f"--{needed.replace('_', '-')}"
        raise InputError(f"--method {arguments.method} needs {option}")
    for name in OF_THRESHOLDS if with_network else OF_NETWORKS:
        if getattr(arguments, name) != parser.get_default(name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"--method {arguments.method} takes no {option}")


def from_network(arguments: argparse.Namespace) -> None:
    """Maps of a registered data set by a trained network."""
    cfg, dataset = labeling_config(arguments)
    recipe = MapRecipe(arguments.method, arguments.cam_threshold, arguments.min_margin)
    made = make_network_maps(
        cfg,
        dataset,
        str(arguments.output),
        recipe,
        **sharing(arguments),
        overwrite=arguments.overwrite,
    )
    print(f"{made} maps written to {arguments.output}")
    report = check_weak_maps(dataset, str(arguments.output), keep_missing=arguments.skip_bad)
    print("\n".join([report.table(), *report.describe()]))


def from_thresholds(arguments: argparse.Namespace) -> None:
    """Maps of a folder of images, of one class, by a threshold."""
    if arguments.opts:
        raise InputError(f"--method {arguments.method} takes no {arguments.opts[0]!r}")
    recipe = ForegroundRecipe(
        **{f.name: getattr(arguments, f.name) for f in fields(ForegroundRecipe)}
    )
    intensity = Intensity(tuple(arguments.percentiles), tuple(arguments.range))
    maps = ThresholdMaps(
        arguments.images,
        arguments.output,
        recipe,
        arguments.class_index,
        ImageReader(intensity=intensity),
        arguments.truth,
        arguments.points,
    )
    below = sum(path.parent != arguments.images for path in maps.images)
    if below:
        print(f"{below} of the {len(maps.images)} images lie in sub-folders")
    made = maps.make(**sharing(arguments), overwrite=arguments.overwrite)
    print(f"{made} maps written to {arguments.output}")
    if arguments.truth or arguments.points:
        counts = maps.measure()
        nothing = "nothing of the class to count" if counts else "no map of an image named there"
        print("\n".join(describe_counts(counts) or [nothing]))
    if arguments.draw > 0:
        print(f"drawn: {maps.draw(arguments.draw)}")


def main() -> None:
    arguments = parse_arguments()
    if arguments.method in ARCHITECTURES:
        from_network(arguments)
    else:
        from_thresholds(arguments)


if __name__ == "__main__":
    run_tool(main)
