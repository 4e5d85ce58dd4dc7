"""Make masks of single objects out of true class maps and a point on each object.

    python datasets/prepare_masks_from_points.py --images DIR --tags FILE --points FILE
        --class-maps DIR --output FILE

For data that has class maps but no masks of objects, to train a network on full masks to compare
with, and to measure pseudo labels. Where objects of a class touch, the line between them is only
guessed: each pixel goes to the nearest point.
"""

import argparse

from bestie_d2.data import register_weak_dataset
from bestie_d2.data.datasets.masks_from_points import write_instances
from bestie_d2.engine.command_line import run_tool

NAME = "masks_from_points"  # in Detectron2's catalog


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--images", required=True, metavar="DIR")
    add("--tags", required=True, metavar="FILE", help="tags of all images, COCO-style JSON or CSV")
    add("--points", required=True, metavar="FILE", help="a point on each object")
    add("--class-maps", required=True, metavar="DIR", help="index PNGs of the true classes")
    add("--output", required=True, metavar="FILE", help="COCO JSON")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    register_weak_dataset(NAME, images=arguments.images, tags=arguments.tags)
    print(write_instances(NAME, arguments.class_maps, arguments.points, arguments.output))


if __name__ == "__main__":
    run_tool(main)
