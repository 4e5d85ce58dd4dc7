"""Say how a folder of weak maps fits a data set: files, sizes, indices, tags, and the truth.

    python tools/check_weak_maps.py --config-file FILE [--dataset NAME] [--weak-maps DIR]
        [KEY VALUE ...]

For maps from any method. Ends with exit code 2 if a training could not use them.
"""

import argparse

from bestie_d2.checks.weak_maps import check_weak_maps
from bestie_d2.data import expand_path
from bestie_d2.engine.command_line import run_tool
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE")
    add("--dataset", help="default: the first of DATASETS.TRAIN")
    add("--weak-maps", metavar="DIR", help="default: DATASETS.WEAK_MAPS or the registered ones")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    return parser.parse_args()


def main() -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog  # once bestie_d2 is imported

    arguments = parse_arguments()
    cfg = load_config(arguments.config_file, arguments.opts)
    dataset = arguments.dataset or (cfg.DATASETS.TRAIN or ("",))[0]
    if dataset not in DatasetCatalog:
        raise InputError(f"data set {dataset!r} is not registered; see DATASETS.CUSTOM")
    folder = arguments.weak_maps or expand_path(cfg.DATASETS.WEAK_MAPS)
    folder = folder or MetadataCatalog.get(dataset).get("weak_maps")
    if not folder:
        raise InputError(f"data set {dataset!r} is registered without weak maps: give --weak-maps")
    print(f"maps in {folder} for {dataset}")
    report = check_weak_maps(dataset, folder)
    print("\n".join([report.table(), *report.describe()]))
    if report.unusable:
        raise InputError(f"{len(report.unusable)} of {report.images} maps cannot be used")


if __name__ == "__main__":
    run_tool(main)
