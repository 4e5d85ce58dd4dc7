"""Read everything that a training would read, and tell of it in one report; nothing is trained.

    python tools/check_data.py --config-file FILE [--jobs N] [--draw N] [KEY VALUE ...]
    python tools/check_data.py --config-file FILE --weak-maps [DIR] [--dataset NAME] [KEY VALUE ...]

Where the data is, how much of it there is and how it is spread over the classes; what is missing or
does not fit, the first few of each kind and how many more. Ends with exit code 2 if a training
would fail. --draw writes annotated pictures of the training images to OUTPUT_DIR/data_check.
--weak-maps looks at nothing but the weak maps of one data set, from any method: files, sizes,
indices, tags and, where it is known, the truth.
"""

import argparse
import os

from bestie_d2.checks.data_report import check_data
from bestie_d2.checks.image_check import ImageCheck
from bestie_d2.checks.weak_map_check import check_weak_maps, maps_to_check
from bestie_d2.engine.command_line import add_jobs, parse_options, run_tool
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.pictures.dataset import draw_taught
from bestie_d2.storage.files import make_folder


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE")
    add_jobs(parser)
    add("--draw", default=0, type=int, metavar="N", help="draw N of the images without a problem")
    add("--weak-maps", nargs="?", const="", metavar="DIR",
        help="look at weak maps alone; default: DATASETS.WEAK_MAPS or the registered")  # fmt: skip
    add("--dataset", default="", help="whose maps; default: the first of DATASETS.TRAIN")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parse_options(parser)
    if arguments.draw < 0:
        raise InputError(f"--draw {arguments.draw}: expected 0 or more")
    if arguments.dataset and arguments.weak_maps is None:
        raise InputError("--dataset: goes with --weak-maps alone")
    return arguments


def check_maps_alone(dataset: str, folder: str) -> None:
    """Say how weak maps fit a data set; refuse those that a training could not use."""
    print(f"maps in {folder} for {dataset}")
    report = check_weak_maps(dataset, folder)
    print("\n".join([report.table(), *report.describe()]))
    if report.unusable:
        raise InputError(f"{len(report.unusable)} of {report.images} maps cannot be used")


def main() -> None:
    arguments = parse_arguments()
    cfg = load_config(arguments.config_file, arguments.opts)
    if arguments.weak_maps is not None:
        check_maps_alone(*maps_to_check(cfg, arguments.dataset, arguments.weak_maps))
        return
    report = check_data(cfg, jobs=arguments.jobs)
    print("\n".join(report.describe()))
    if arguments.draw:
        folder = os.path.join(cfg.OUTPUT_DIR, "data_check")
        make_folder(folder, "OUTPUT_DIR")
        smallest = ImageCheck(cfg).smallest
        print("", *draw_taught(cfg, report.good, arguments.draw, folder, smallest), sep="\n")
    if report.problems:
        raise InputError(f"a training would fail; problems: {report.count}")
    print("\na training could start")


if __name__ == "__main__":
    run_tool(main)
