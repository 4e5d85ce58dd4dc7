"""Make point labels for COCO 2017 from its masks, to train from points.

    python datasets/prepare_coco.py [--coco DIR] [--split {train,val} ...]

Tags need no preparation: they are read from the official annotation files.
"""

import argparse
import os

from bestie_d2.data.datasets.coco import COCO_FOLDER, SPLITS, write_coco_points
from bestie_d2.data.paths import ROOT_VARIABLE, datasets_root
from bestie_d2.engine.command_line import run_tool


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--coco", metavar="DIR", help=f"default: ${ROOT_VARIABLE}/{COCO_FOLDER}")
    add("--split", nargs="+", choices=SPLITS, default=SPLITS, help="default: both")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    folder = arguments.coco or os.path.join(datasets_root(), COCO_FOLDER)
    for split in arguments.split:
        print(write_coco_points(folder, split))


if __name__ == "__main__":
    run_tool(main)
