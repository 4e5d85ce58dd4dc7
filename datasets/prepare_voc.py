"""Prepare PASCAL VOC 2012 with SBD: list, tags, points, class maps and instances.

    python datasets/prepare_voc.py [--voc DIR] [--sbd DIR] [--output DIR] [--tags {xml,masks}]
        [--allow-partial]

Reads VOCdevkit's VOC2012 and SBD's benchmark_RELEASE as they are extracted. Everything is written
at the end, so what is interrupted leaves nothing behind; docs/data_sets.md lists the files.
"""

import argparse
import os

from bestie_d2.data.datasets.voc import VOC_FOLDER
from bestie_d2.data.datasets.voc_preparation import TAG_SOURCES, XML, prepare_voc
from bestie_d2.data.datasets.voc_sources import SBD_FOLDER
from bestie_d2.data.paths import ROOT_VARIABLE, datasets_root
from bestie_d2.engine.command_line import run_tool


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--voc", metavar="DIR", help=f"default: ${ROOT_VARIABLE}/{VOC_FOLDER}")
    add("--sbd", metavar="DIR", help=f"default: ${ROOT_VARIABLE}/{SBD_FOLDER}")
    add("--output", metavar="DIR", help="default: the folder of --voc, where it is looked for")
    add("--tags", choices=TAG_SOURCES, default=XML, help="where train_aug's tags come from")
    add("--allow-partial", action="store_true", help="only warn of incomplete downloads")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    voc = arguments.voc or os.path.join(datasets_root(), VOC_FOLDER)
    output = arguments.output or voc
    report = prepare_voc(
        voc,
        arguments.sbd or os.path.join(datasets_root(), SBD_FOLDER),
        output,
        tag_source=arguments.tags,
        allow_partial=arguments.allow_partial,
    )
    print("\n".join(report.describe()))
    print(f"written to {output}")


if __name__ == "__main__":
    run_tool(main)
