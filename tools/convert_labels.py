"""Convert an export of an annotation tool to this project's points or tags JSON.

    python tools/convert_labels.py --input FILE|FOLDER --images DIR --output FILE
        [--from FORMAT] [--as points|tags] [--classes NAME [NAME ...]]

The format is found out, and said, when it is not named; docs/formats.md lists them. DATASETS.CUSTOM
takes exports as they are, too.
"""

import argparse
import csv
from itertools import chain

from bestie_d2.data.labels.annotation_tools.placing import POINTS, TAGS
from bestie_d2.data.labels.annotation_tools.registry import FORMAT_NAMES
from bestie_d2.data.labels.conversion import convert_labels
from bestie_d2.engine.command_line import run_tool
from bestie_d2.errors import InputError


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--input", required=True, metavar="PATH", help="file, ZIP or folder of the export")
    add("--images", required=True, metavar="DIR", help="folder of the pictures")
    add("--output", required=True, metavar="FILE", help="JSON to write")
    add("--from", dest="format", default="", metavar="FORMAT", help=", ".join(FORMAT_NAMES))
    add("--as", dest="kind", default="", choices=(POINTS, TAGS), help="default: what there is")
    add("--classes", nargs="+", metavar="NAME",
        help="all that there are, in order, parted by blanks or commas; one that holds a comma "
        """in double quotes: cat '"dog, small"'""")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.classes is not None:
        cells = chain.from_iterable(csv.reader(arguments.classes, skipinitialspace=True))
        arguments.classes = [*dict.fromkeys(filter(None, map(str.strip, cells)))]
        if not arguments.classes:
            raise InputError("--classes names no class")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    lines = convert_labels(
        arguments.input,
        images=arguments.images,
        output=arguments.output,
        wanted=arguments.format,
        kind=arguments.kind,
        classes=arguments.classes,
    )
    print(*lines, sep="\n")


if __name__ == "__main__":
    run_tool(main)
