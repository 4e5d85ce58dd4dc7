"""Start a project from pictures and labels: look at them, write configurations and commands.

    python -m bestie_d2 init --images DIR --labels FILE [--output DIR] [--hours H]
        [--truth FILE] [--val-share S] [--as points|tags]

Labels are points or tags, in any file that DATASETS.CUSTOM takes. It measures pictures and objects,
chooses lengths and network by docs/own_data.md, and fits the trainings into --hours (an iteration
is timed here; without it they have their usual length). Points and tags cannot be measured with:
--truth, a COCO file of outlined objects, gives the pictures to measure on; where these have labels
too, a share of them is kept from training. Nothing that is there is overwritten.
"""

import argparse
import math
from pathlib import Path

from bestie_d2.data.labels.annotation_tools.placing import POINTS, TAGS
from bestie_d2.engine.command_line import run_tool
from bestie_d2.errors import InputError
from bestie_d2.project.project_plan import Request
from bestie_d2.project.project_start import start_project


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--images", required=True, metavar="DIR", help="folder of the pictures")
    add("--labels", required=True, metavar="FILE", help="points or tags of them")
    add("--as", dest="kind", default="", choices=(POINTS, TAGS), help="default: what there is")
    add("--output", default="project", type=Path, metavar="DIR", help="default: %(default)s")
    add("--hours", type=float, metavar="H", help="time for all trainings together")
    add("--truth", default="", metavar="FILE", help="COCO file of outlines, to measure with")
    add("--val-share", default=0.2, type=float, metavar="S",
        help="of the pictures with truth, if all have labels (default: %(default)s)")  # fmt: skip
    arguments = parser.parse_args()
    if not 0 < arguments.val_share < 1:
        raise InputError(f"--val-share {arguments.val_share:g}: expected more than 0, less than 1")
    if arguments.hours is not None and not 0 < arguments.hours < math.inf:
        raise InputError(
            f"--hours {arguments.hours:g}: expected more than 0; leave it out for the usual length"
        )
    return arguments


def main() -> None:
    print(*start_project(Request(**vars(parse_arguments()))), sep="\n")


if __name__ == "__main__":
    run_tool(main)
